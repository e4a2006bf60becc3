"""answer and streamed: the question to the model server, asked from inside and from outside."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from fixtures.model import replies
from fixtures.model import stage as model
from harness.errors import LabError
from tests.unit import vllm
from tests.unit.stages.conftest import MakeLab
from tests.unit.stages.lab import Lab, Refusal, record
from tests.unit.stages.server import Server

WANTED = record().profile["model"]
NAME = WANTED["name"]
LOG = ('tail -c "$2" -- "$1"', "-model-server/out")
CURL = "curl --fail-with-body"
SMI = "nvidia-smi --query-gpu"
HTTP = {exchange.name: exchange for exchange in vllm.exchanges()}


@pytest.fixture
def lab(make_lab: MakeLab, server: Server) -> Lab:
    """As the recorded run found it, its forwards leading to the server."""
    lab = make_lab()
    server.lead_to(lab.host)
    return lab


# The question, in the container.
def ask(lab: Lab) -> Any:
    lab.facts["guest"] = replace(lab.facts["guest"], host=lab.host)
    return lab.fixture("answer", model)


def test_the_recorded_answer_is_read(lab: Lab) -> None:
    answer = ask(lab)
    assert answer.model == NAME
    assert answer.text
    assert answer.total_tokens == answer.prompt_tokens + answer.completion_tokens
    [fact] = [event for event in lab.events("fact") if event["name"] == "answer"]
    assert fact["value"]["text"] == answer.text
    assert f"answer: {answer.text}" in lab.said


def test_a_real_answer_is_read(lab: Lab) -> None:
    lab.host.reply(CURL, out=HTTP["good"].answer, seconds=2.0)
    answer = ask(lab)
    usage = json.loads(HTTP["good"].answer)["usage"]
    assert answer.completion_tokens == usage["completion_tokens"]
    assert answer.tokens_per_second == round(usage["completion_tokens"] / 2.0, 3)


@pytest.mark.parametrize(
    ("status", "says", "hint"),
    [
        (7, "curl: (7) Failed to connect to 127.0.0.1 port 8000", "has the server ended"),
        (28, "curl: (28) Operation timed out", "raise 'answer' in [budget]"),
        (52, "curl: (52) Empty reply from server", "has the server ended"),
        (1, "ctr: executable file not found in $PATH", "no curl"),
        (3, "curl: (3) URL malformed", "curl(1)"),
    ],
)
def test_a_question_that_gets_no_answer(lab: Lab, status: int, says: str, hint: str) -> None:
    lab.bring("model")
    lab.host.reply(CURL, status=status, err=says)
    with pytest.raises(LabError) as caught:
        ask(lab)
    says = f"curl in the container ended with {status}: {says}"
    Refusal("", lambda host: None, (says,), hint, "model.inside").judge(caught.value)


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("wrong-model", "model.name"),
        ("key-missing", "--api-key"),
        ("engine-killed-0", "the engine has died"),
    ],
)
def test_a_question_that_is_refused(lab: Lab, name: str, hint: str) -> None:
    lab.bring("model")
    refused = HTTP[name]
    says = f"curl: (22) The requested URL returned error: {refused.status}"
    lab.host.reply(CURL, status=22, out=refused.answer, err=says)
    with pytest.raises(LabError) as caught:
        ask(lab)
    says = f"the question is answered with {refused.status}: {replies.said(refused.answer)}"
    Refusal("", lambda host: None, (says,), hint, "model.inside").judge(caught.value)


def test_a_server_that_ended_before_the_question_is_told_as_that(lab: Lab) -> None:
    lab.bring("model")
    lab.host.reply(CURL, status=7, err="curl: (7) Failed to connect")
    lab.host.job("model-server", 0, "")
    lab.host.reply(*LOG, out=vllm.log("good-then-engine-killed"))
    with pytest.raises(LabError, match="the engine's process ended") as caught:
        ask(lab)
    assert caught.value.clause == "model.server"


@pytest.mark.case(
    "vLLM",
    "http_proxy in the image's environment",
    source="Overpass #107, unsloth #11147, homer #394",
)
def test_the_question_is_asked_past_any_proxy(lab: Lab) -> None:
    ask(lab)
    [words] = [words for words in lab.host.asked if "curl" in words]
    assert words[words.index("--noproxy") + 1] == "*"


@pytest.mark.parametrize("body", ["", "<html>404</html>", '{"choices": []}', "[]", "null", '{"ch'])
def test_an_answer_of_something_else_is_an_error_that_shows_it(lab: Lab, body: str) -> None:
    lab.bring("model")
    lab.host.reply(CURL, out=body, seconds=1.0)
    with pytest.raises(LabError) as caught:
        ask(lab)
    Refusal(
        "",
        lambda host: None,
        ("should be answered with a completion", body),
        "is what listens on model.port the model server?",
        "model.answer",
    ).judge(caught.value)


def test_an_answer_by_the_wrong_path_is_asked_for_with_the_guides_words(lab: Lab) -> None:
    ask(lab)
    [words] = [words for words in lab.host.asked if "curl" in words]
    body = json.loads(words[-1])
    assert body["messages"][-1] == {"role": "user", "content": WANTED["question"]}
    assert (body["temperature"], body["max_tokens"]) == (0, WANTED["max_tokens"])


# The same from outside.
def test_a_real_stream_is_put_together(lab: Lab, server: Server) -> None:
    stream = HTTP["stream"]
    server.answers["/v1/chat/completions"] = (200, stream.kind, f"{stream.answer}\n\n".encode())
    lab.bring("model")
    ask(lab)
    found = lab.fixture("streamed", model)
    pieces = [json.loads(line[6:]) for line in stream.answer.splitlines() if line[6:7] == "{"]
    said = [c["delta"].get("content") for piece in pieces for c in piece["choices"]]
    assert found.text == "".join(text for text in said if text)
    assert found.pieces == len([text for text in said if text])
    assert found.role == "assistant"
    assert found.completion_tokens == pieces[-1]["usage"]["completion_tokens"]
    [fact] = [event for event in lab.events("fact") if event["name"] == "streamed"]
    assert fact["value"]["text"] == found.text


@pytest.mark.case("vLLM", "an engine killed between two questions", source="vLLM 0.24.0")
def test_an_engine_that_dies_at_the_streamed_question_is_told(lab: Lab, server: Server) -> None:
    lab.bring("model")
    ask(lab)
    died = HTTP["engine-killed-0"]
    server.answers["/v1/chat/completions"] = (died.status, died.kind, died.answer.encode())
    with pytest.raises(LabError) as caught:
        lab.fixture("streamed", model)
    says = "the question, streamed, is answered with 500: EngineCore encountered an issue."
    hint = "the engine has died behind its interface"
    Refusal("", lambda host: None, (says,), hint, "model.streaming").judge(caught.value)


# The same by many.
@pytest.fixture
def streaming(make_lab: MakeLab, server: Server) -> Lab:
    """Its model has answered, by what was recorded of a real stream, and is to by one and three."""
    levels = {"load": [1, 3], "load_tokens": 6}
    lab = make_lab(settings={"model": levels, "budget": {"load": 600}})
    server.lead_to(lab.host)
    stream = HTTP["stream"]
    server.answers["/v1/chat/completions"] = (200, stream.kind, f"{stream.answer}\n\n".encode())
    lab.bring("model")
    ask(lab)
    lab.fixture("streamed", model)
    return lab


def test_load_is_counted_at_each_level_and_its_figures_are_noted(streaming: Lab) -> None:
    found = streaming.fixture("load", model)
    assert [(one.concurrent, one.failed) for one in found.levels] == [(1, 0), (3, 0)]
    facts = {event["name"]: event for event in streaming.events("fact")}
    assert [one["concurrent"] for one in facts["load"]["value"]["levels"]] == [1, 3]
    assert {row["id"] for row in facts["figures"]["value"]} >= {"load-1-rate", "load-3-first-p95"}


@pytest.mark.parametrize(("told", "used"), [(327, 70123), (None, None)])
def test_memory_is_asked_before_and_after_load_where_the_gpus_tell_it(
    streaming: Lab, told: int | None, used: int | None
) -> None:
    streaming.facts["model"] = replace(streaming.facts["model"], memory_after=told)
    if used:
        tail = ["81559", f"{used}\n"]
        streaming.host.filter(SMI, by=lambda out: ", ".join([*out.split(", ")[:5], *tail]))
    found = streaming.fixture("load", model)
    assert (found.memory_before, found.memory_after) == (used, used)


@pytest.mark.case("vLLM", "an engine killed under load", source="vLLM 0.24.0")
def test_a_server_that_ends_under_load_is_told_as_that(streaming: Lab, server: Server) -> None:
    died = HTTP["engine-killed-0"]
    server.answers["/v1/chat/completions"] = (died.status, died.kind, died.answer.encode())
    streaming.host.job("model-server", 0, "")
    streaming.host.reply(*LOG, out=vllm.log("good-then-engine-killed"))
    with pytest.raises(LabError, match="the engine's process ended") as caught:
        streaming.fixture("load", model)
    assert caught.value.clause == "model.server"
