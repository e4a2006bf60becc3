"""The stand-in for vLLM over HTTP, with a small server in the place of llama.cpp's; and its wheels.

What is held against a real vLLM is in test_standin_vllm_contract.py, starting and ending in
test_standin_vllm_start.py.
"""

import json
import os
import socket
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
import requests

from tests.unit.llama import SERVED, FakeEngine, Llama, llama, serving
from tests.unit.patience import PATIENCE
from vlab.errors import VlabError
from vlab.standins import model
from vlab.standins.model.vllm.standin.engine import MODEL
from vlab.standins.model.vllm.standin.web import MARK

MESSAGES = [{"role": "user", "content": "什么是机密容器？"}]


@pytest.fixture
def engine() -> Iterator[Llama]:
    """The engine."""
    with llama() as server:
        yield server


@pytest.fixture
def url(engine: Llama) -> Iterator[str]:
    """The stand-in's address."""
    with serving(FakeEngine(engine.server_address[1])) as address:
        yield address


def chat(url: str, **fields: Any) -> requests.Response:
    body = {"model": SERVED, "messages": MESSAGES, **fields}
    return requests.post(f"{url}/v1/chat/completions", json=body, timeout=PATIENCE)


def test_every_answer_is_marked(url: str) -> None:
    for page in ("/health", "/v1/models", "/nothing", "/metrics"):
        assert requests.get(url + page, timeout=PATIENCE).headers["X-Stand-In"] == MARK
    assert MODEL in MARK
    assert chat(url).json()["system_fingerprint"] == f"stand-in:{MODEL}"
    assert chat(url, stream=True).headers["X-Stand-In"] == MARK


def test_figures_are_the_engines_and_vllms_by_name(url: str) -> None:
    figures = requests.get(f"{url}/metrics", timeout=PATIENCE).text.splitlines()
    assert "llamacpp:prompt_tokens_total 7" in figures
    assert f'vllm:prompt_tokens_total{{engine="0",model_name="{SERVED}"}} 12.0' in figures
    assert "# TYPE vllm:prompt_tokens_total counter" in figures


@pytest.mark.parametrize("page", ["/health", "/ping"])
def test_health_says_no_more_than_the_engine(url: str, engine: Llama, page: str) -> None:
    engine.well = False
    assert requests.get(url + page, timeout=PATIENCE).status_code == 503
    engine.well = True
    assert requests.get(url + page, timeout=PATIENCE).status_code == 200


def test_engine_that_nobody_reaches_is_an_error_of_the_server() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with serving(FakeEngine(port)) as before_nobody:
        assert requests.get(f"{before_nobody}/health", timeout=PATIENCE).status_code == 503
        response = chat(before_nobody)
        assert response.status_code == 500
        assert "EngineCore encountered an issue" in response.json()["error"]["message"]
        assert requests.get(f"{before_nobody}/v1/models", timeout=PATIENCE).status_code == 200


def test_engine_gets_vllms_defaults_and_nothing_that_vllm_does_not_know(
    url: str, engine: Llama
) -> None:
    chat(url, n_predict=1, cache_prompt=False, repetition_penalty=1.1, stop=["x"], seed=-1)
    (path, asked), *_ = engine.asked
    assert path == "/v1/chat/completions"
    assert asked.pop("messages") == MESSAGES
    assert asked == {
        **{"temperature": 1.0, "top_p": 1.0, "top_k": 0, "min_p": 0.0, "stop": ["x"]},
        **{"presence_penalty": 0.0, "frequency_penalty": 0.0, "repeat_penalty": 1.1},
        "seed": 2**32 - 1,
    }


@pytest.mark.parametrize(
    ("fields", "limit"),
    [({}, None), ({"max_tokens": 9}, 9), ({"max_completion_tokens": 8, "max_tokens": 9}, 8)],
)
def test_answers_length_is_the_requests(
    url: str, engine: Llama, fields: dict[str, int], limit: int | None
) -> None:
    assert chat(url, **fields).status_code == 200
    assert engine.asked[-1][1].get("max_tokens") == limit


def test_model_that_is_not_named_is_the_first(url: str) -> None:
    assert chat(url, model=None).json()["model"] == SERVED


def test_several_answers_have_seeds_of_their_own(url: str, engine: Llama) -> None:
    answer = chat(url, n=2, seed=5).json()
    assert [choice["index"] for choice in answer["choices"]] == [0, 1]
    assert [asked["seed"] for _, asked in engine.asked] == [5, 6]
    assert answer["usage"] == {
        **{"prompt_tokens": 31, "total_tokens": 35, "completion_tokens": 4},
        "prompt_tokens_details": None,
    }


def test_several_prompts_have_an_answer_each(url: str) -> None:
    body = {"model": SERVED, "prompt": ["a", "b"]}
    answer = requests.post(f"{url}/v1/completions", json=body, timeout=PATIENCE).json()
    assert len(answer["choices"]) == 2
    assert answer["usage"]["prompt_tokens"] == 62


def test_openais_client_reads_a_stream(url: str) -> None:
    client = openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0)
    chunks = list(
        client.chat.completions.create(
            model=SERVED, messages=[{"role": "user", "content": "x"}], stream=True
        )
    )
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == "one two"
    assert chunks[0].choices[0].delta.role == "assistant"
    assert chunks[-1].choices[0].finish_reason == "length"
    assert not any(chunk.usage for chunk in chunks), "nobody asked for the counts"


def test_streamed_text_completion(url: str) -> None:
    body = {"prompt": "x", "stream": True}
    lines = requests.post(f"{url}/v1/completions", json=body, timeout=PATIENCE).text.split("\n\n")
    pieces = [json.loads(line.removeprefix("data: ")) for line in lines[:2]]
    assert [piece["choices"][0]["text"] for piece in pieces] == ["one", ""]
    assert lines[2:] == ["data: [DONE]", ""]


def test_stream_that_the_engine_breaks_off_ends_with_an_error(url: str, engine: Llama) -> None:
    engine.breaks_off = True
    *_, error, end, _ = chat(url, stream=True).text.split("\n\n")
    assert json.loads(error.removeprefix("data: "))["error"]["code"] == 500
    assert end == "data: [DONE]"


def refused(response: requests.Response) -> str:
    error = response.json()["error"]
    assert error["code"] == response.status_code
    assert error.keys() == {"message", "type", "param", "code"}
    message: str = error["message"]
    return message


@pytest.mark.parametrize(
    ("fields", "status", "words"),
    [
        ({"model": 5}, 400, "'loc': ('body', 'model'), 'msg': 'Input should be a valid string'"),
        ({"messages": ["text"]}, 400, "'msg': 'Input should be a valid dictionary'"),
        ({"messages": [{"content": "x"}]}, 400, "'role'), 'msg': 'Field required'"),
        ({"messages": "text"}, 400, "Input should be a valid list"),
        ({"max_tokens": 0}, 400, "max_tokens must be at least 1, got 0."),
        ({"max_tokens": "many"}, 400, "unable to parse string as an integer"),
        ({"max_tokens": 1.5}, 400, "got a number with a fractional part"),
        ({"temperature": []}, 400, "Input should be a valid number"),
        ({"stream": "perhaps"}, 400, "Input should be a valid boolean"),
        ({"stream_options": 1}, 400, "Input should be a valid dictionary"),
        ({"top_p": 0}, 400, "top_p must be in (0, 1], got 0.0."),
        ({"n": 0}, 400, "n must be at least 1, got 0."),
        ({"n": 2, "stream": True}, 501, "The stand-in for vLLM has not got more than one answer"),
        ({"structured_outputs": {"regex": "a"}}, 501, "has not got 'structured_outputs'"),
        ({"tools": [{}], "tool_choice": "required"}, 501, "has not got tools"),
    ],
)
def test_bad_requests_are_refused(
    url: str, engine: Llama, fields: dict[str, Any], status: int, words: str
) -> None:
    response = chat(url, **fields)
    assert response.status_code == status
    assert words in refused(response)
    assert not engine.asked


def test_engines_own_refusals_are_in_vllms_form(url: str, engine: Llama) -> None:
    engine.fault = (400, {"error": {"code": 400, "message": "no such grammar", "type": "x"}})
    assert refused(chat(url)) == "no such grammar"
    too_long = {"code": 400, "message": "", "type": "exceed_context_size_error"}
    engine.fault = (400, {"error": too_long})
    for stream in (False, True):
        assert "maximum context length is 8192 tokens" in refused(chat(url, stream=stream))


@pytest.mark.parametrize("body", [b"{", b"", b"[]", b"\xff", b"[" * 100_000])
def test_body_that_is_no_json_object_is_refused(url: str, body: bytes) -> None:
    response = requests.post(
        f"{url}/v1/chat/completions",
        data=body,
        headers={"Content-Type": "application/json; charset=utf-8"},
        timeout=PATIENCE,
    )
    assert response.status_code == 400
    assert refused(response)


def test_body_of_unknown_length_is_refused_and_the_connection_closed(url: str) -> None:
    response = requests.post(f"{url}/v1/completions", data=iter([b"x"]), timeout=PATIENCE)
    assert response.status_code == 501


def test_server_lives_on_after_bad_requests(url: str) -> None:
    with requests.Session() as client:  # one connection: what a refusal left would be read next
        for body in (b"{", b'{"model": "other"}', b'{"model": "served"}'):
            refused = client.post(f"{url}/v1/chat/completions", data=body, timeout=PATIENCE)
            assert refused.status_code >= 400
        assert client.get(f"{url}/health", timeout=PATIENCE).status_code == 200
    assert chat(url).status_code == 200


def test_methods_and_paths_that_are_not_there(url: str) -> None:
    wrong = requests.delete(f"{url}/v1/models", timeout=PATIENCE)
    assert (wrong.status_code, wrong.headers["Allow"]) == (405, "GET")
    assert requests.head(f"{url}/health", timeout=PATIENCE).status_code == 405
    assert requests.post(f"{url}/ping", timeout=PATIENCE).status_code == 200
    absent = requests.post(f"{url}/v1/responses", json={}, timeout=PATIENCE)
    assert absent.status_code == 501, "vLLM has it: no 404 for what the stand-in alone lacks"


def test_tokens_of_a_conversation_and_back(url: str) -> None:
    found = requests.post(f"{url}/tokenize", json={"messages": MESSAGES}, timeout=PATIENCE).json()
    assert found["count"] == len(found["tokens"]) == 31
    back = requests.post(f"{url}/detokenize", json={"tokens": [1]}, timeout=PATIENCE).json()
    assert back == {"prompt": "text"}


@pytest.mark.parametrize("package", ["vllm", "modelscope"])
def test_wheel_of_a_package_is_whole_and_the_same_each_time(package: str, tmp_path: Path) -> None:
    version = {"vllm": model.VERSION, "modelscope": model.MODELSCOPE}[package]
    said = (model.HERE / package / "__init__.py").read_text(encoding="utf-8")
    assert f'__version__ = "{version}"' in said
    name = f"{package}-{version}-py3-none-any.whl"
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        model.pack_wheel(model.HERE / package, tmp_path / folder / name)
    assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    with zipfile.ZipFile(tmp_path / "a" / name) as wheel:
        names = wheel.namelist()
        record = wheel.read(f"{package}-{version}.dist-info/RECORD").decode()
    assert f"{package}/__init__.py" in names
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
