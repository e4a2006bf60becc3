"""The stand-in for vLLM held against a real one: the same requests, the recorded answers.

Compared are status, kind of content, and the body field by field: names and their order, types, and
values, unless ``DIFFERENT`` has the field. A real server takes the same requests where VLLM_URL
names one; it has to serve under the recorded name (--served-model-name), without a key.
"""

import json
import os
import re
from collections.abc import Iterator
from typing import Any

import pytest
import requests

from tests.unit.llama import SERVED, FakeEngine, llama, serving
from tests.unit.patience import PATIENCE
from tests.unit.vllm import Exchange, exchanges

DIFFERENT = {
    "id": "anew each time; its form is looked at",
    "created": "the time",
    "content": "another text",
    "text": "another text",
    "token": "another text",
    "logprob": "another text",
    "bytes": "another text",
    "finish_reason": "another text, of another length",
    "tokens": "words, in the place of llama.cpp that is here",
    "count": "the same",
    "prompt_tokens": "the same",
    "completion_tokens": "the same",
    "total_tokens": "the same",
    "version": "the stand-in's says so",
    "root": "the model that answers in truth",
    "system_fingerprint": "the same",
}
NOT_HERE = {
    "before-ready-0": "a test of its own",
    "before-ready-1": "the same",
    "before-ready-2": "the same",
    "null-content": "a test of its own: cut in the recording, and of many errors one kind is told",
    "too-long": "a test of its own: cut in the recording",
    "pp2-good": "of another server, with another pipeline",
    "engine-killed-1": "the server has ended",
    "engine-killed-2": "the server has ended",
    "engine-killed-health-1": "the server has ended",
    "engine-killed-health-2": "the server has ended",
}
FORMS = {
    "id": r"(chatcmpl|cmpl|modelperm)-[0-9a-f]{16}",
    "system_fingerprint": r"stand-in:SmolLM2-135M-Instruct-Q4_1",
    "root": r"SmolLM2-135M-Instruct-Q4_1",
    "version": r"0\.24\.0\+standin",
}
KEYS = {"key-wrong": "wrong", "key-right": "s3cret"}


ALL = {one.name: one for one in exchanges()}


def ask(url: str, one: Exchange) -> requests.Response:
    kind = "text/plain" if one.name == "wrong-content-type" else "application/json"
    headers = {"Content-Type": kind}
    if one.name in KEYS:
        headers["Authorization"] = f"Bearer {KEYS[one.name]}"
    return requests.request(
        one.method, url + one.path, data=one.asked.encode(), headers=headers, timeout=PATIENCE
    )


def plain(message: str) -> str:
    """Without the file that a traceback names, which is the real one's, or the stand-in's."""
    return re.sub(r'File "[^"]+", line \d+', 'File "-"', message)


def compare(real: Any, ours: Any, at: str = "", forms: dict[str, str] = FORMS) -> None:
    name = at.rpartition(".")[2]
    if isinstance(real, dict):
        assert list(ours) == list(real), at
        for key in real:
            compare(real[key], ours[key], f"{at}.{key}", forms)
        return
    assert type(ours) is type(real), f"{at}: {ours!r}, recorded {real!r}"
    if isinstance(real, list):
        assert bool(ours) == bool(real) or name in DIFFERENT, at
        for i, value in enumerate(ours if real else []):
            compare(real[min(i, len(real) - 1)], value, at, forms)
    elif name in forms and real != SERVED:
        assert re.fullmatch(forms[name], ours), f"{at}: {ours}"
        assert ours.partition("-")[0] == real.partition("-")[0] or name != "id"
    elif name not in DIFFERENT or real == SERVED:
        assert plain(str(ours)) == plain(str(real)), at


def events(text: str) -> list[Any]:
    assert text.endswith("data: [DONE]\n\n")
    *pieces, end = text.removesuffix("\n\n").split("\n\n")
    assert end == "data: [DONE]"
    return [json.loads(piece.removeprefix("data: ")) for piece in pieces]


def compare_streams(real: list[Any], ours: list[Any], forms: dict[str, str]) -> None:
    """First a role, then pieces, the last with its reason, then the counts."""
    compare(real[0], ours[0], forms=forms)
    for piece in ours[1:-2]:
        compare(real[1], piece, forms=forms)
    compare(real[-2], ours[-2], forms=forms)
    compare(real[-1], ours[-1], forms=forms)
    assert len({piece["id"] for piece in ours}) == 1


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """A stand-in that needs no key."""
    with llama() as engine, serving(FakeEngine(engine.server_address[1])) as address:
        yield address


@pytest.fixture(scope="module")
def keyed() -> Iterator[str]:
    """One that does."""
    with (
        llama() as engine,
        serving(FakeEngine(engine.server_address[1]), "--api-key", "s3cret") as address,
    ):
        yield address


@pytest.fixture
def killed() -> Iterator[str]:
    """One whose engine has gone."""
    with llama() as engine:
        way = FakeEngine(engine.server_address[1])
        way.lives = False
        with serving(way) as address:
            yield address


@pytest.mark.parametrize("which", ["stand-in", "real"])
@pytest.mark.parametrize("name", [name for name in ALL if name not in NOT_HERE])
def test_answer_is_as_recorded(name: str, which: str, request: pytest.FixtureRequest) -> None:
    one = ALL[name]
    server = {"key": "keyed", "engine": "killed"}.get(name.partition("-")[0], "url")
    if which == "stand-in":
        response = ask(request.getfixturevalue(server), one)
    elif server != "url":
        pytest.skip("skipped: a real server with a key, or without its engine, is not asked")
    elif not os.environ.get("VLLM_URL"):
        pytest.skip("skipped: no real vLLM is here; VLLM_URL names one")
    else:
        response = ask(os.environ["VLLM_URL"], one)
    forms = FORMS if which == "stand-in" else {"id": FORMS["id"]}
    assert response.status_code == one.status
    assert response.headers.get("Content-Type", "") == one.kind
    if one.kind.startswith("text/event-stream"):
        compare_streams(events(one.answer + "\n\n"), events(response.text), forms)
    elif one.answer:
        compare(json.loads(one.answer), response.json(), forms=forms)
    else:
        assert response.text == ""


def test_what_is_not_compared_was_recorded() -> None:
    assert NOT_HERE.keys() <= ALL.keys()


def test_prompt_that_is_too_long_is_refused_in_the_recorded_words(url: str) -> None:
    body = {"model": SERVED, "messages": [{"role": "user", "content": "机密 " * 9000}]}
    response = requests.post(f"{url}/v1/chat/completions", json={**body, "max_tokens": 24})
    assert response.status_code == 400
    compare(json.loads(ALL["too-long"].answer), response.json())


def test_empty_content_is_refused_as_recorded_of_its_own_type(url: str) -> None:
    response = ask(url, ALL["null-content"])
    assert response.status_code == ALL["null-content"].status
    error = response.json()["error"]
    assert (error["type"], error["code"]) == ("Bad Request", 400)
    recorded = ALL["null-content"].answer.encode().decode("unicode_escape")
    told = re.findall(r"^  (\{.*\})$", error["message"], re.M)
    assert len(told) == 2
    assert all(one in recorded for one in told)
