"""The stand-in for vLLM, with a small HTTP server in the place of llama.cpp's; and its wheels."""

import json
import os
import socket
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.unit.patience import PATIENCE
from vlab.errors import VlabError
from vlab.standins import model
from vlab.standins.model.vllm.standin import StandInError
from vlab.standins.model.vllm.standin.arguments import Arguments, parse
from vlab.standins.model.vllm.standin.device import require_gpu
from vlab.standins.model.vllm.standin.engine import Engine
from vlab.standins.model.vllm.standin.web import MARK, Server

GUIDE_LINE = (
    "--model qwen/Qwen1.5-1.8B-Chat --trust-remote-code --host 0.0.0.0 --port 8000 "
    "--served-model-name Qwen1.5-1.8B-Chat --gpu-memory-utilization 0.95"
)
GUIDE = GUIDE_LINE.split()
MESSAGES = [{"role": "user", "content": "什么是机密容器？"}]


class Upstream(BaseHTTPRequestHandler):
    """Answers as llama.cpp's server does, with what it was asked as the content."""

    well = True

    def do_GET(self) -> None:
        well = not self.path.startswith("/health") or Upstream.well
        self._send(200 if well else 503, b"# HELP x\nllamacpp:prompt_tokens_total 7\n")

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if asked.get("seed") == 400:
            self._send(400, b'{"error":{"code":400,"message":"too long"}}')
            return
        answer = {"system_fingerprint": "b0-unknown", "asked": asked}
        body = json.dumps(answer, separators=(",", ":")).encode()
        self._send(200, b"data: %b\n\ndata: [DONE]\n\n" % body if asked.get("stream") else body)

    def _send(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:
        pass


@contextmanager
def serving(engine_port: int) -> Iterator[str]:
    """The stand-in before an engine; its address."""
    arguments = Arguments("m", ("served",), "127.0.0.1", 0, 2048, None, ())
    engine = Engine("127.0.0.1", engine_port, 2048, None)
    with Server(arguments, engine) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


@pytest.fixture
def upstream() -> Iterator[ThreadingHTTPServer]:
    """The engine."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Upstream) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def url(upstream: ThreadingHTTPServer) -> Iterator[str]:
    """The stand-in's address."""
    with serving(upstream.server_address[1]) as address:
        yield address


def chat(url: str, **fields: Any) -> requests.Response:
    body = {"model": "served", "messages": MESSAGES, **fields}
    return requests.post(f"{url}/v1/chat/completions", json=body, timeout=PATIENCE)


def test_guide_command_line_is_taken_unchanged() -> None:
    found = parse(GUIDE)
    assert found.model == "qwen/Qwen1.5-1.8B-Chat"
    assert found.served_names == ("Qwen1.5-1.8B-Chat",)
    assert (found.host, found.port) == ("0.0.0.0", 8000)
    assert found.ignored == ("--gpu-memory-utilization", "--trust-remote-code")


def test_model_serves_under_its_own_name_and_underscores_are_dashes() -> None:
    assert parse(["--model", "a/b"]).served_names == ("a/b",)
    assert parse(["--served_model_name=c"]).served_names == ("c",)


@pytest.mark.parametrize(
    "wrong",
    [["--no-such-flag"], ["--gpu-memory-utilization", "1.5"], ["--port", "x"], ["positional"]],
)
def test_wrong_command_line_exits_2(wrong: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        parse([*GUIDE, *wrong])
    assert ended.value.code == 2


def nvidia_smi(folder: Path, script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    tool = folder / "nvidia-smi"
    tool.write_text(f"#!/bin/sh\n{script}\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)


def test_gpu_is_asked_for_and_its_lines_are_passed_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nvidia_smi(tmp_path, 'test "$1" = -L && echo "GPU 0: x (UUID: y)"', monkeypatch)
    assert require_gpu() == ["GPU 0: x (UUID: y)"]


@pytest.mark.parametrize("script", ["exit 9", "echo No devices found.; exit 6", "true"])
def test_no_gpu_no_server(script: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nvidia_smi(tmp_path, script, monkeypatch)
    with pytest.raises(StandInError, match="Failed to infer device type"):
        require_gpu()


def test_program_ends_with_1_without_nvidia_smi(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "vllm.entrypoints.openai.api_server", *GUIDE],
        env={"PATH": str(tmp_path), "PYTHONPATH": str(model.HERE)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert "this is not vLLM" in done.stdout
    assert "Failed to infer device type (there is no nvidia-smi" in done.stderr


def test_pages(url: str) -> None:
    health = requests.get(f"{url}/health", timeout=PATIENCE)
    assert (health.status_code, health.content) == (200, b"")
    assert health.headers["X-Stand-In"] == MARK
    (entry,) = requests.get(f"{url}/v1/models", timeout=PATIENCE).json()["data"]
    assert (entry["id"], entry["root"]) == ("served", "SmolLM2-135M-Instruct-Q4_1")
    assert requests.get(f"{url}/version", timeout=PATIENCE).json()["stand_in"] is True
    metrics = requests.get(f"{url}/metrics", timeout=PATIENCE).text.splitlines()
    assert "llamacpp:prompt_tokens_total 7" in metrics
    assert 'vllm:prompt_tokens_total{model_name="served"} 7' in metrics
    assert "# TYPE vllm:prompt_tokens_total counter" in metrics
    assert requests.get(f"{url}/nothing", timeout=PATIENCE).status_code == 404


@pytest.mark.parametrize("page", ["/health", "/ping", "/v1/models"])
def test_no_page_says_more_than_the_engine(
    url: str, page: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Upstream, "well", False)
    assert requests.get(f"{url}{page}", timeout=PATIENCE).status_code == 503
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with serving(port) as before_nobody:
        response = requests.get(f"{before_nobody}{page}", timeout=PATIENCE)
        assert response.status_code == 503
        assert response.json()["type"] == "EngineDeadError"
    monkeypatch.setattr(Upstream, "well", True)
    assert requests.get(f"{url}{page}", timeout=PATIENCE).status_code == 200


def test_completion_is_the_engines_and_marked(url: str) -> None:
    answer = chat(url, repetition_penalty=1.1).json()
    assert answer["system_fingerprint"] == "stand-in:SmolLM2-135M-Instruct-Q4_1"
    assert answer["asked"]["messages"] == MESSAGES
    assert answer["asked"]["repeat_penalty"] == 1.1
    assert answer["asked"]["max_tokens"] == 64
    assert chat(url, max_completion_tokens=9).json()["asked"]["max_tokens"] == 9


def test_stream_is_passed_on_and_marked(url: str) -> None:
    lines = chat(url, stream=True).text.split("\n")
    assert lines[0].startswith('data: {"system_fingerprint":"stand-in:')
    assert lines[2] == "data: [DONE]"


@pytest.mark.parametrize(
    ("fields", "status", "words"),
    [
        ({"model": "other"}, 404, "The model `other` does not exist."),
        ({"model": None}, 400, "'model'"),
        ({"messages": []}, 400, "'messages'"),
        ({"messages": ["text"]}, 400, "'role'"),
        ({"max_tokens": 0}, 400, "max_tokens must be at least 1, got 0."),
        ({"max_tokens": 100000}, 400, "maximum context length is 2048 tokens"),
        ({"temperature": -1}, 400, "temperature must be non-negative"),
        ({"seed": 400}, 400, "too long"),
    ],
)
def test_refusals_have_vllms_shape(
    url: str, fields: dict[str, Any], status: int, words: str
) -> None:
    response = chat(url, **fields)
    assert response.status_code == status
    assert response.json()["object"] == "error"
    assert response.json()["code"] == status
    assert words in response.json()["message"]


@pytest.mark.parametrize("body", [b"{", b"", b"[]", b"\xff"])
def test_body_that_is_no_json_object_is_refused(url: str, body: bytes) -> None:
    response = requests.post(f"{url}/v1/chat/completions", data=body, timeout=PATIENCE)
    assert response.status_code == 400
    assert response.json()["type"] == "BadRequestError"


def test_server_lives_on_after_bad_requests(url: str) -> None:
    with requests.Session() as client:  # one connection: what a refusal left would be read next
        for body in (b"{", b'{"model": "other"}', b'{"model": "served"}'):
            assert (
                client.post(f"{url}/v1/chat/completions", data=body, timeout=PATIENCE).status_code
                >= 400
            )
        assert client.get(f"{url}/health", timeout=PATIENCE).status_code == 200
    assert chat(url).status_code == 200


def test_wheel_of_the_package_is_whole_and_the_same_each_time(tmp_path: Path) -> None:
    from vlab.standins.model import vllm

    assert vllm.__version__ == model.VERSION
    name = f"vllm-{model.VERSION}-py3-none-any.whl"
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        model.pack_wheel(model.HERE / "vllm", tmp_path / folder / name)
    assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    with zipfile.ZipFile(tmp_path / "a" / name) as wheel:
        names = wheel.namelist()
        record = wheel.read(f"vllm-{model.VERSION}.dist-info/RECORD").decode()
    assert "vllm/entrypoints/openai/api_server.py" in names
    assert len(record.splitlines()) == len(names)


def test_loaded_part_still_loads(tmp_path: Path) -> None:
    import _ctypes  # any extension module that is a file of its own

    source = Path(_ctypes.__file__ or "")
    slim = tmp_path / source.name
    slim.write_bytes(model.loaded_part(source.read_bytes()))
    assert slim.stat().st_size < source.stat().st_size
    done = subprocess.run(
        [sys.executable, "-c", "import _ctypes; print(_ctypes.__file__)"],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert done.stdout.strip() == str(slim), done.stderr


def test_what_is_no_elf_file_is_refused() -> None:
    with pytest.raises(VlabError, match="not 64-bit ELF"):
        model.loaded_part(b"#!/bin/sh\n" * 20)
