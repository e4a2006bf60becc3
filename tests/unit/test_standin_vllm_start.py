"""How the stand-in for vLLM starts, does not start, and ends: status and log, as a real one's."""

import errno
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from queue import Queue
from typing import Any

import pytest
import requests

from tests.unit import vllm
from tests.unit.llama import FakeEngine, llama
from tests.unit.mini import ROOT
from tests.unit.patience import PATIENCE
from vlab.standins import model
from vlab.standins.model.vllm.entrypoints.openai import api_server
from vlab.standins.model.vllm.standin import checks
from vlab.standins.model.vllm.standin.arguments import parse
from vlab.standins.model.vllm.standin.engine import Engine
from vlab.standins.model.vllm.standin.server import Server
from vlab.standins.model.vllm.standin.web import Handler

SMOL = ["--trust-remote-code", "--host", "0.0.0.0", "--served-model-name", "Qwen1.5-1.8B-Chat"]
STAMP = r" \d\d-\d\d \d\d:\d\d:\d\d "


def recorded(name: str) -> list[str]:
    """Lines of a real log, without what is another each time."""
    return plain(vllm.log(name))


def plain(text: str) -> list[str]:
    text = re.sub(r"(pid=|process \[)\d+", r"\1N", text)
    text = re.sub(STAMP, " ", text)
    text = re.sub(r"'/models/smol'", f"'{MODEL_FOLDER}'", text)
    return text.splitlines()


MODEL_FOLDER = str(ROOT)  # a path that is there


def program(tmp_path: Path, packages: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "vllm.entrypoints.openai.api_server", *flags],
        env={"PATH": str(tmp_path), "PYTHONPATH": str(packages), "VLLM_USE_MODELSCOPE": "True"},
        capture_output=True,
        text=True,
    )


def test_program_ends_with_1_without_nvidia_smi(tmp_path: Path) -> None:
    done = program(tmp_path, model.HERE, "--nonsense")
    assert done.returncode == 1
    assert "this is not vLLM" in done.stdout
    assert "there is no nvidia-smi in this container" in done.stdout
    last = done.stderr.splitlines()[-1]
    assert last.startswith("RuntimeError: Failed to infer device type, please set the environment")


def test_program_of_an_image_without_modelscope_ends_with_1(tmp_path: Path) -> None:
    (tmp_path / "vllm").symlink_to(model.HERE / "vllm")
    done = program(tmp_path, tmp_path)
    assert done.returncode == 1
    assert "ModuleNotFoundError: No module named 'modelscope'" in done.stderr
    last = done.stderr.splitlines()[-1]
    assert last.startswith("ImportError: Please install modelscope>=1.18.1 via `pip install")


@pytest.mark.parametrize("value", ["1", "False", ""])
def test_modelscope_is_asked_for_by_true_alone(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VLLM_USE_MODELSCOPE", value)
    checks.require_modelscope()


def test_nothing_heavy_is_imported() -> None:
    script = "import sys, vllm.entrypoints.openai.api_server; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-S", "-c", script],
        env={"PYTHONPATH": str(model.HERE)},
        capture_output=True,
        text=True,
        check=True,
    )
    heavy = {"dataclasses", "inspect", "asyncio", "logging", "traceback", "importlib.metadata"}
    assert not heavy & set(done.stdout.split())


Main = Callable[..., tuple[int, list[str]]]


@pytest.fixture
def main(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Main:
    """The program in this process, with two GPUs: its status, and its log without times."""
    monkeypatch.delenv("VLLM_USE_MODELSCOPE", raising=False)
    monkeypatch.setattr(api_server, "heed_signals", lambda: None)
    monkeypatch.setattr(api_server, "require_gpu", lambda: ["GPU 0: a", "GPU 1: b"])

    def no_engine(*given: Any) -> None:
        raise checks.no_cache_memory("the stand-in GPU is full")

    monkeypatch.setattr(api_server, "start", no_engine)

    def run(*argv: str) -> tuple[int, list[str]]:
        status = api_server.main([*argv])
        said = capfd.readouterr()
        return status, plain(said.out + said.err)

    return run


STARTS = {
    "max-model-len-too-large": [*SMOL, "--max-model-len", "1000000"],
    "no-memory-for-cache": [*SMOL, "--enforce-eager", "--gpu-memory-utilization", "0.005"],
    "quantization-mismatch": [*SMOL, "--quantization", "awq"],
    "tensor-parallel-too-many": [*SMOL, "--enforce-eager", "--tensor-parallel-size", "9"],
}


def assert_ends_so(name: str, said: list[str]) -> None:
    """The flags as recorded, and the same last words, in the same order."""
    flags, *words = recorded(name)
    at = iter(re.sub(r"'port': \d+, ", "", line) for line in said)
    assert flags in at, f"{flags} is not in {said}"
    for line in words:
        assert line in at, f"{line} does not come in its place in {said}"
    assert words[-1] == said[-1]


@pytest.mark.parametrize("name", STARTS)
def test_start_fails_in_the_recorded_words(name: str, main: Main) -> None:
    status, said = main(*STARTS[name], "--model", MODEL_FOLDER, "--port", "0")
    assert status == 1
    assert_ends_so(name, said)


def test_model_path_that_is_not_there(main: Main) -> None:
    flags = ("--trust-remote-code", "--host", "0.0.0.0", "--port", "0")
    status, said = main(*flags, "--model", "/models/nomodel")
    assert status == 1
    assert_ends_so("model-path-missing", said)
    _, said = main("--port", "0", "--model", "./nomodel")
    assert "Repo id must use alphanumeric chars" in said[-1]


def test_port_in_use(main: Main) -> None:
    with socket.create_server(("0.0.0.0", 0)) as taken:
        port = str(taken.getsockname()[1])
        status, said = main(*SMOL, "--enforce-eager", "--model", MODEL_FOLDER, "--port", port)
    assert status == 1
    assert_ends_so("port-in-use", said)


def test_share_of_memory_that_is_none(main: Main) -> None:
    status, said = main("--gpu-memory-utilization", "1.5", "--port", "0")
    assert status == 1
    assert "  Input should be less than or equal to 1 [type=less_than_equal" in "\n".join(said)


def test_long_context_if_the_environment_insists(
    main: Main, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VLLM_ALLOW_LONG_MAX_MODEL_LEN", "1")
    _, said = main("--max-model-len", "9000", "--port", "0")
    assert "(APIServer pid=N) INFO [model.py:1725] Using max model len 9000" in said


def test_port_refuses_until_the_server_is_ready() -> None:
    flags = parse(["--host", "127.0.0.1", "--port", "0"])
    with Server(flags, Handler) as server, socket.socket() as client:
        refused = client.connect_ex(("127.0.0.1", server.server_address[1]))
    assert refused == errno.ECONNREFUSED


@pytest.fixture
def engine() -> Iterator[FakeEngine]:
    """An engine that lives until it is told otherwise."""
    with llama() as server:
        yield FakeEngine(server.server_address[1])


def ask_around_a_death(engine: FakeEngine, url: str) -> Iterator[int]:
    """The status of /health before it, of a question after it, and of /health again."""
    for _ in range(int(PATIENCE / 0.05)):
        try:
            yield requests.get(f"{url}/health", timeout=PATIENCE).status_code
            break
        except requests.ConnectionError:  # not ready yet
            time.sleep(0.05)
    engine.lives = False
    body = {"messages": [{"role": "user", "content": "x"}]}
    yield requests.post(f"{url}/v1/chat/completions", json=body, timeout=PATIENCE).status_code
    yield requests.get(f"{url}/health", timeout=PATIENCE).status_code


def test_server_whose_engine_dies_ends_with_0(
    main: Main, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    ports: Queue[int] = Queue()

    class Noted(Server):
        grace = 600.0

        def serve(self, engine: Engine) -> None:
            ports.put(self.server_address[1])
            super().serve(engine)

    monkeypatch.setattr(api_server, "Server", Noted)
    monkeypatch.setattr(api_server, "start", lambda *given: engine)
    seen: list[int] = []

    def kill() -> None:
        try:
            seen.extend(
                ask_around_a_death(engine, f"http://127.0.0.1:{ports.get(timeout=PATIENCE)}")
            )
        finally:
            engine.lives = False
            Noted.grace = 0.0

    killer = threading.Thread(target=kill)
    killer.start()
    status, said = main("--model", "a/b", "--host", "127.0.0.1", "--port", "0")
    killer.join()
    assert status == 0
    assert seen == [200, 500, 503]
    assert_life(said)


def assert_life(said: list[str]) -> None:
    """Banner, start and end as recorded."""
    real = recorded("good-then-engine-killed")
    sign = [line.replace("0.24.0", "0.24.0+standin") for line in real[:6]]
    begin = said.index(sign[0])
    shown = [line.replace("model   a/b", "model   /models/smol") for line in said]
    assert shown[begin : begin + 6] == sign
    ready = recorded("api-key")[1:4]
    begin = said.index(ready[0])
    assert said[begin : begin + 3] == ready
    assert real[7] in said, "engine core exited unexpectedly"
    assert next(line for line in real if "AsyncLLM output_handler failed" in line) in said
    assert next(line for line in real if "EngineDeadError" in line) in said
    for words in ('"POST /v1/chat/completions HTTP/1.1" 500', '"GET /health HTTP/1.1" 503'):
        assert any(words in line for line in said)
    assert said[-4:] == real[-4:]


SERVE = """
import sys
from types import SimpleNamespace
from vllm.entrypoints.openai import api_server
api_server.require_gpu = lambda: ["GPU 0: a"]
engine = SimpleNamespace(context=1, alive=lambda: True)
api_server.start = lambda *given: engine
sys.exit(api_server.main(["--host", "127.0.0.1", "--port", "0"]))
"""


def test_server_that_is_told_to_stop_ends_with_0() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", SERVE],
        env={"PYTHONPATH": str(model.HERE)},
        stdout=subprocess.PIPE,
        text=True,
    ) as server:
        assert server.stdout
        said = []
        for line in server.stdout:
            said.append(line)
            if "Application startup complete." in line:
                server.send_signal(signal.SIGTERM)
    assert server.returncode == 0
    real = recorded("api-key")
    shutdown = [line for line in real if "shutdown triggered" in line] + real[-3:]
    assert plain("".join(said))[-4:] == shutdown
