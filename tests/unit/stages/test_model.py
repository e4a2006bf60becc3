"""model: when the server counts as ready, and why one is not."""

from __future__ import annotations

import shlex
from dataclasses import replace

import pytest

from fixtures.container.nvidia_smi import MEANING, SmiGpu
from fixtures.model import ending, serverlog
from harness.host.command import HostUnreachable
from harness.run.stage import StageFailed
from harness.text import head
from suites import test_model as model_suite
from tests.unit import vllm
from tests.unit.kept import recorded_smi
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


# Why real servers did not start, and the key of the profile.
STARTS = {
    "port-in-use": "model.port",
    "max-model-len-too-large": "model.command",
    "model-path-missing": "container.mounts",
    "no-memory-for-cache": "model.command",
    "quantization-mismatch": "model.command",
    "tensor-parallel-too-many": "gpu.count",
    "config-json-broken": "model.command",
    "hub-name-offline": "model.command",
}


@pytest.mark.parametrize("name", STARTS)
def test_a_server_that_does_not_start_has_its_cause_told(
    lab: Lab, server: Server, name: str
) -> None:
    server.answers["/health"] = (503, "", b"")
    cause, line = ending.found(vllm.log(name))
    assert cause is not None
    far = '(APIServer pid=1)   File "core_client.py", line 100, in <module>\n' * 200
    Refusal(
        "",
        lambda host: ended(lab, f"{vllm.log(name)}\n{far}"),
        ("the model server ended before it was ready (exit status 1)", cause.says, line[:500]),
        STARTS[name],
        "model.server",
    ).of(lab, "model")


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405])
def test_a_refusal_is_told_at_once(lab: Lab, server: Server, status: int) -> None:
    server.answers["/health"] = (status, JSON, HTTP["key-models"].answer.encode())
    says = f"/health is answered with {status}: Unauthorized"
    Refusal("", lambda host: None, (says,), "", "model.ready").of(lab, "model")


@pytest.mark.case("vLLM", "a server with --api-key answers 401 for ever", source="sparkring #195")
def test_a_key_that_the_server_wants_is_told(lab: Lab, server: Server) -> None:
    wants = HTTP["key-models"]
    server.answers["/v1/models"] = (wants.status, JSON, wants.answer.encode())
    says = "/v1/models is answered with 401: Unauthorized"
    Refusal("", lambda host: None, (says,), "--api-key", "model.ready").of(lab, "model")


@pytest.mark.parametrize("body", [b"{}", b"[]", b"null", b"<html>", b'{"data": null}', b'{"da'])
def test_another_server_on_the_port_is_told(lab: Lab, server: Server, body: bytes) -> None:
    server.answers["/v1/models"] = (200, JSON, body)
    says = "/v1/models is no list of models"
    Refusal("", lambda host: None, (says,), "the model server?", "model.ready").of(lab, "model")


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
        (
            "for the model server to answer on /health",
            "last seen: /health is answered with 503",
            f" s: {shlex.join(WANTED['command'])}",
        ),
        "raise 'model' in [budget] of the profile, 1e-06 now",
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


@pytest.mark.case(
    "vLLM",
    "a server that listens elsewhere, or waits for a hub",
    source="vLLM and uvicorn, as their sources have it",
)
@pytest.mark.parametrize(
    ("log", "hint"),
    [
        ("Starting vLLM server on http://0.0.0.0:9000", "it listens on port 9000, and model.port"),
        ("INFO:     Uvicorn running on http://127.0.0.1:8000 (Press CTRL+C", "--host 0.0.0.0"),
        (vllm.log("hub-name-offline"), "its log complains of 'huggingface_hub"),
        ("Starting vLLM server on http://0.0.0.0:8000", "if it needs longer here"),
    ],
)
def test_what_the_log_of_one_that_never_is_ready_says(
    make_lab: MakeLab, server: Server, log: str, hint: str
) -> None:
    lab = make_lab(settings=SLOW)
    server.lead_to(lab.host)
    server.answers["/health"] = (503, "", b"")
    lab.host.reply("state=gone", "-model-server.service", out="alive 12\nloading ...")
    lab.host.reply(*TAIL, out=log)
    with pytest.raises(StageFailed) as caught:
        lab.bring("model")
    assert hint in (caught.value.hint or "")


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
    assert shown == [f"[model] | {head(line.rstrip(), 200)}" for line in log if line.strip()]


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


def test_a_server_with_an_error_of_its_own(ready: Lab, server: Server) -> None:
    server.lead_to(ready.host)
    server.answers["/v1/models"] = (500, JSON, b"")
    Refusal(
        "",
        lambda host: None,
        ("/v1/models is answered with 500: no word",),
        "an error of the server's own",
        "model.ready",
    ).of(ready, "model")


@pytest.mark.case(
    "vLLM", "a server that ends after it was ready, with status 0", source="vLLM 0.24.0"
)
def test_a_server_that_has_ended_meanwhile_is_told_with_its_cause(lab: Lab, server: Server) -> None:
    died = HTTP["engine-killed-0"]
    server.answers["/v1/models"] = (died.status, JSON, died.answer.encode())
    log = vllm.log("good-then-engine-killed")

    def alive_once(words: Words) -> Reply:
        lab.host.job("model-server", 0, log)
        return Reply(out="alive 0\n")

    lab.host.reply(*TAIL, out=log)
    lab.host.reply("state=gone", "-model-server.service", by=alive_once)
    Refusal(
        "",
        lambda host: None,
        ("ended after it was ready (exit status 0, as vLLM's is when its engine has died)",),
        "kata.default_memory",
        "model.server",
    ).of(lab, "model")


def memory(lab: Lab, used: int) -> None:
    """The guest's GPU says how much of it was in use when it was looked at."""
    guest = lab.facts["guest"]
    gpus = tuple(replace(gpu, memory_used=used) for gpu in guest.smi.gpus)
    smi = replace(guest.smi, gpus=gpus)
    lab.facts["guest"] = replace(guest, host=lab.host, smi=smi)


def test_memory_is_asked_again_where_the_gpus_tell_it(lab: Lab) -> None:
    memory(lab, 4)
    lab.host.filter(SMI, by=lambda out: ", ".join([*out.split(", ")[:5], "81559", "70123\n"]))
    found = lab.bring("model")
    assert (found.memory_before, found.memory_after) == (4, 70123)


def test_a_gpu_that_has_nothing_of_the_model_is_told(lab: Lab) -> None:
    memory(lab, 4)
    guest = lab.facts["guest"]
    [gpu] = guest.smi.gpus
    two = (gpu, replace(gpu, uuid="GPU-2"))
    lab.facts["guest"] = replace(guest, host=lab.host, smi=replace(guest.smi, gpus=two))

    def line(gpu: SmiGpu, used: int) -> str:
        words = (gpu.driver_version, gpu.name, gpu.uuid, gpu.bus_id, gpu.device_id)
        return ", ".join([*map(str, words), "81559", f"{used}"])

    lab.host.reply(SMI, out=f"{line(two[0], 70123)}\n{line(two[1], 4)}\n")
    found = lab.bring("model")
    assert (found.memory_before, found.memory_after, found.idle) == (8, 70127, ("GPU-2",))
    with pytest.raises(pytest.skip.Exception, match="no memory of GPU-2 is in use"):
        model_suite.test_gpu_memory_in_use_rises(found)


@pytest.mark.parametrize(
    ("status", "says", "meaning"),
    [
        (15, "GPU is lost\n", "has fallen off the bus"),
        *((status, said, MEANING[status]) for _, status, said in recorded_smi()[-2:]),
    ],
)
def test_an_nvidia_smi_that_fails_later_is_an_error_that_says_what_it_means(
    lab: Lab, status: int, says: str, meaning: str
) -> None:
    memory(lab, 4)
    Refusal(
        "",
        lambda host: host.reply(SMI, status=status, out=says),
        (f"nvidia-smi ended with {status}", meaning, says.strip()),
        "it answered before",
        "model.gpu-memory",
    ).of(lab, "model")
