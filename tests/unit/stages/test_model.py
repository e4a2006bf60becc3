"""model: when the server counts as ready, why one is not, and the question asked both ways."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from fixtures.model import serverlog
from fixtures.model import stage as model
from harness.errors import LabError
from harness.host.command import HostUnreachable
from harness.run.stage import StageFailed
from tests.unit import vllm
from tests.unit.replay import Reply, Words
from tests.unit.stages.conftest import MakeLab
from tests.unit.stages.lab import Lab, Refusal, record
from tests.unit.stages.server import JSON, Server

WANTED = record().profile["model"]
NAME = WANTED["name"]
LOG = "-model-server/out"
MORE = (serverlog.MORE, LOG)
TAIL = ('tail -c "$2" -- "$1"', LOG)
SMI = "nvidia-smi --query-gpu"
CURL = "curl --fail-with-body"
HTTP = {exchange.name: exchange for exchange in vllm.exchanges()}


@pytest.fixture
def lab(make_lab: MakeLab, server: Server) -> Lab:
    """As the recorded run found it, its forwards leading to the server."""
    lab = make_lab()
    server.lead_to(lab.host)
    return lab


def ended(lab: Lab, says: str) -> None:
    """The job has ended, and this is its log."""
    lab.host.job("model-server", 1, says)
    lab.host.reply(*TAIL, out=says)


# What the server's log says last, and what is to be done.
SAYS = [
    ("RuntimeError: Failed to infer device type", "it sees no GPU"),
    ("RuntimeError: No CUDA GPUs are available", "it sees no GPU"),
    ("ModuleNotFoundError: No module named 'modelscope'", "too early a stage: image suite"),
    ("torch.OutOfMemoryError: CUDA out of memory.", "--gpu-memory-utilization"),
    ("urllib3: Name or service not known", "container.mounts for resolv.conf"),
    ("requests.exceptions.ConnectionError: Max retries exceeded", "container gets nowhere"),
    (vllm.log("port-in-use"), "another server has the port: model.port"),
    ("api_server.py: error: unrecognized arguments: --max-len", "model.command has a wrong flag"),
    (vllm.log("model-path-missing"), "model-server.txt in the evidence has all of its log"),
]


@pytest.mark.parametrize(("says", "hint"), SAYS, ids=[says[-30:] for says, _ in SAYS])
def test_a_server_that_ends_has_its_likely_cause_told(
    lab: Lab, server: Server, says: str, hint: str
) -> None:
    server.answers["/health"] = (503, "", b"")
    Refusal(
        "",
        lambda host: ended(lab, says),
        ("the model server ended before it was ready", says.strip()),
        hint,
        "model.server",
    ).of(lab, "model")


def test_the_servers_log_becomes_evidence(lab: Lab, server: Server) -> None:
    server.answers["/health"] = (503, "", b"")
    ended(lab, "it says so\n")
    with pytest.raises(StageFailed):
        lab.bring("model")
    folder = lab.run.evidence.collect("suites/test_x.py::test_y")
    assert folder is not None
    assert (folder / "model-server.txt").read_text() == "it says so\n"


SLOW = {"budget": {"model": 1e-6}}


def test_a_server_that_never_is_ready(make_lab: MakeLab, server: Server) -> None:
    lab = make_lab(settings=SLOW)
    server.lead_to(lab.host)
    server.answers["/health"] = (503, "", b"")
    lab.host.reply(*TAIL, out="loading ...")
    Refusal(
        "",
        lambda host: None,
        ("for the model server to answer on /health",),
        "model.port",
        "model.ready",
    ).of(lab, "model")


def test_the_end_of_the_log_is_in_the_hint_of_one_that_never_is_ready(
    make_lab: MakeLab, server: Server
) -> None:
    lab = make_lab(settings=SLOW)
    server.lead_to(lab.host)
    server.unready = 100
    lab.host.reply("state=gone", "-model-server.service", out="alive 12\nloading ...")
    lab.host.reply(*TAIL, out="loading shards: 3 of 9")
    with pytest.raises(StageFailed) as caught:
        lab.bring("model")
    assert (caught.value.hint or "").endswith("loading shards: 3 of 9")


def test_one_that_is_not_ready_yet_is_waited_for_with_its_log_in_view(
    lab: Lab, server: Server
) -> None:
    looks = [
        (int(words[-2]), reply.out)  # from which byte on, and what came
        for (stage, words), replies in record().replies.items()
        if stage == "model" and words[2] == serverlog.MORE
        for reply in replies
    ]
    server.unready = len(looks) - 1
    lab.bring("model")
    assert server.unready == 0
    log = "".join(out for _, out in sorted(looks)).splitlines()
    assert log
    shown = [line for line in lab.said if line.startswith("[model] | ")]
    assert shown == [f"[model] | {line.rstrip()[:200]}" for line in log if line.strip()]


def test_a_host_that_is_lost_meanwhile_is_told_as_lost(lab: Lab, server: Server) -> None:
    def lost(words: Words) -> Reply:
        raise HostUnreachable("Host 'lab' was lost: Connection reset by peer")

    server.unready = 1_000_000
    lab.host.reply(*MORE, by=lost)
    lab.host.reply("state=gone", "-model-server.service", by=lost)
    with pytest.raises(StageFailed, match="Host 'lab' was lost: Connection reset by peer"):
        lab.bring("model")


def test_the_job_is_in_the_journal_before_it_runs(lab: Lab) -> None:
    lab.host.reply("setsid -f", "-model-server.service", status=1, err="no systemd")
    lab.host.reply("systemctl stop", "-model-server.service")
    with pytest.raises(StageFailed, match="no systemd"):
        lab.bring("model")
    assert lab.journal() == ["job 'model-server'"]


def test_a_version_is_recorded_as_the_server_says_it(lab: Lab, server: Server) -> None:
    server.answers["/version"] = (200, JSON, HTTP["version"].answer.encode())
    assert lab.bring("model").version == HTTP["version"].answer


def test_a_page_that_says_not_found_is_no_version(lab: Lab, server: Server) -> None:
    unknown = HTTP["unknown-route"]
    server.answers["/version"] = (unknown.status, JSON, unknown.answer.encode())
    assert lab.bring("model").version == ""


def test_a_server_that_does_not_answer_any_more(ready: Lab, server: Server) -> None:
    server.lead_to(ready.host)
    server.answers["/v1/models"] = (500, JSON, b"")
    Refusal(
        "",
        lambda host: None,
        ("the model server does not answer", "500 Server Error", "/v1/models"),
        "has it ended since it was ready?",
        "model.ready",
    ).of(ready, "model")


def memory(lab: Lab, used: int) -> None:
    """The container's GPU says how much of it was in use when it was looked at."""
    container = lab.facts["container"]
    gpus = tuple(replace(gpu, memory_used=used) for gpu in container.smi.gpus)
    smi = replace(container.smi, gpus=gpus)
    lab.facts["container"] = replace(container, host=lab.host, smi=smi)


def test_memory_is_asked_again_where_the_gpus_tell_it(lab: Lab) -> None:
    memory(lab, 4)
    lab.host.filter(SMI, by=lambda out: ", ".join([*out.split(", ")[:5], "81559", "70123\n"]))
    found = lab.bring("model")
    assert (found.memory_before, found.memory_after) == (4, 70123)


def test_an_nvidia_smi_that_fails_later_is_an_error_that_shows_it(lab: Lab) -> None:
    memory(lab, 4)
    lab.host.reply(SMI, status=15, err="GPU is lost\n")
    with pytest.raises(StageFailed, match="GPU is lost"):
        lab.bring("model")


# The question, in the container.
def ask(lab: Lab) -> Any:
    lab.facts["container"] = replace(lab.facts["container"], host=lab.host)
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
    ("status", "says"),
    [
        (7, "curl: (7) Failed to connect to 127.0.0.1 port 8000"),
        (22, "curl: (22) The requested URL returned error: 404"),
        (28, "curl: (28) Operation timed out"),
    ],
)
def test_a_question_that_gets_no_answer(lab: Lab, status: int, says: str) -> None:
    lab.host.reply(CURL, status=status, out=HTTP["wrong-model"].answer, err=says)
    with pytest.raises(LabError) as caught:
        ask(lab)
    said = json.loads(HTTP["wrong-model"].answer)["error"]["message"]
    Refusal("", lambda host: None, (says, said), "curl(1)", "model.inside").judge(caught.value)


@pytest.mark.parametrize("body", ["", "<html>404</html>", '{"choices": []}', "[]"])
def test_an_answer_of_something_else_is_an_error_that_shows_it(lab: Lab, body: str) -> None:
    lab.host.reply(CURL, out=body, seconds=1.0)
    with pytest.raises(LabError) as caught:
        ask(lab)
    Refusal(
        "",
        lambda host: None,
        ("the completion lacks something", body),
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
