"""A guest that is the target itself, recorded on an H100: what is found, and what is reported."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from fixtures.container import stage as container
from fixtures.guest.compute import figures
from fixtures.guest.compute_answer import answered
from fixtures.guest.stage import Guest, GuestStage
from fixtures.profile import Profile
from harness.errors import LabError
from harness.host.command import Result
from harness.record.evidence import Evidence
from harness.record.facts import as_json
from harness.record.trace import Trace
from harness.run.stage import Run
from harness.undo.journal import Journal
from reports.html import html
from reports.record.integrity import check
from reports.record.reading import load
from reports.record.verdict import capabilities
from suites import test_guest as suite
from tests.unit import kept
from tests.unit.replay import Recorded, ReplayHost, recorded
from tests.unit.stages.lab import Lab

DOCUMENT = kept.DATA / "nvidia" / "q-xml" / "580.159.04-h100-x2.xml"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return kept.unpacked("run-in-guest", tmp_path_factory.mktemp("in-guest"))


@pytest.fixture(scope="module")
def record(folder: Path) -> Recorded:
    return recorded(folder / "record.jsonl")


def begun(record: Recorded, folder: Path) -> Run[Profile]:
    trace = Trace(folder / "record.jsonl")
    host = ReplayHost(record, trace)
    # These are too long for the record, or were.
    host.spare("$(dmesg)", "tail -n 1", out=f"{record.facts['guest']['newest']}\n")
    host.spare("$(dmesg)", "LAST")
    host.spare("reset_method", out=record.said("reset_method"))
    host.spare("nvidia-smi -q -x", out=DOCUMENT.read_text("utf-8"))
    return Run(
        id=record.run_id,
        dir=folder,
        profile=Profile.model_validate_json(json.dumps(record.profile)),
        host=host,
        journal=Journal(host, record.run_id),
        trace=trace,
        evidence=Evidence(folder / "evidence", trace),
    )


def looked(run: Run[Profile]) -> Guest:
    return run.stage(GuestStage(run, None, "127.0.0.1"))


def test_the_stage_finds_the_recorded_facts(record: Recorded, tmp_path: Path) -> None:
    run = begun(record, tmp_path)
    found = looked(run)
    facts = as_json(found, "guest")
    later = {"health": None, "console": False}  # of a later version than the record's
    assert facts | later == record.facts["guest"] | later
    assert found.health is not None
    assert found.health.driver == record.facts["guest"]["health"]["driver"]
    assert found.argv("nvidia-smi") == ["nvidia-smi"], "no ctr in between"
    assert found.errors(run) == []


def test_its_parts_are_seen_to_be_real(record: Recorded, tmp_path: Path) -> None:
    run = begun(record, tmp_path)
    looked(run)
    parts: Any = run.facts["parts"]
    seen = {part.name: part.says for part in parts if part.state == "real"}
    assert seen["GPU"] == "10de:2330"
    assert seen["NVIDIA driver"] == seen["nvidia-smi"] == "580.159.04"


def test_a_guest_without_a_gpu_is_told_as_that(record: Recorded, tmp_path: Path) -> None:
    run = begun(record, tmp_path)
    host: Any = run.host
    host.filter("reset_method", by=lambda out: out.replace("0x10de", "0x1234"))
    with pytest.raises(LabError, match="none has vendor 10de") as caught:
        looked(run)
    assert caught.value.clause == "guest.device"


def test_a_container_that_hides_its_kernels_log_has_it_on_the_console(lab: Lab) -> None:
    lab.host.reply("ctr task exec", "$(dmesg)", status=1, err="dmesg: read kernel buffer failed")
    said = "[ 9.1] NVRM: Xid (PCI:0000:01:00): 79, GPU has fallen off the bus."
    line = f'time="x" level=debug msg="reading" sandbox={lab.run.id} vmconsole="{said}"\n'
    lab.host.reply("grep -E", "NVRM: Xid", out=line)
    guest = lab.bring("guest")
    assert guest.newest is None
    assert guest.console
    lab.host.reply("ctr task exec", "CLOCK_MONOTONIC_RAW", out="10.0\n")
    [error] = guest.errors(lab.run)
    assert error.startswith("during stage 'guest': Xid 79 of the GPU at PCI:0000:01:00")


def test_what_was_computed_is_read_and_passes(record: Recorded, folder: Path) -> None:
    said = [r for (_, words), r in record.replies.items() if words[:2] == ("python3", "-")]
    [reply] = [one[0] for one in said if '"capability"' in one[0].out]
    found = answered(Result(("python3",), reply.status, reply.out, reply.err, 1.0, 1, 1))
    [device] = found.devices
    assert device.name == "NVIDIA H100 80GB HBM3"
    suite.test_results_are_those_of_float64(found)
    suite.test_rates_are_those_of_the_model(found)
    suite.test_memory_keeps_what_is_written_to_it(found)
    suite.test_load_is_sustained(found)
    rows = {row.id: row.ratio for row in figures(device)}
    assert rows["copy"] == 0.904
    assert rows["bf16"] == 0.686


def test_the_report_says_what_it_is_of(folder: Path) -> None:
    run = load(folder)
    assert check(run).intact
    said = {one.name: one.verdict for one in capabilities(run)}
    assert (said["guest"], said["model"]) == ("qualified", "qualified")
    assert said["container"] == "not assessed"
    page = html.page(run, check(run))
    assert "678 TFLOP/s" in page
    assert "Looked at from inside the guest alone" in page
    assert container.ContainerStage.name not in {stage.name for stage in run.stages}
