"""The acceptance suites on the virtual lab: passed, failed for the right reason, interrupted."""

import subprocess
import sys

import pytest

from tests.vlab.acceptance import ROOT, Finished, left_running
from vlab.machine import machines_root

pytestmark = pytest.mark.timeout(2400)

STAGES = ("platform", "rootfs", "kata", "image", "gpu", "network", "container", "model")


def test_every_suite_passes(whole_run: Finished) -> None:
    tests = whole_run.events("test")
    assert {e["nodeid"] for e in tests if e["outcome"] in ("failed", "error")} == set()
    assert whole_run.status == 0, whole_run.output[-3000:]


def test_nothing_is_skipped_but_what_an_emulated_host_cannot_show(whole_run: Finished) -> None:
    clauses = whole_run.events("fact", name="guide")[0]["value"]["clauses"]
    excused = {c["id"] for c in clauses if "vlab" in c.get("not_assessed", {})}
    skipped = whole_run.events("test", outcome="skipped")
    assert [e["message"] for e in skipped if not e["message"].startswith("not assessed: ")] == []
    assert {e["nodeid"]: e["clauses"] for e in skipped if not excused & {*e["clauses"]}} == {}
    assert {"platform.tee", "platform.tee-passthrough"} <= {
        c for e in skipped for c in e["clauses"]
    }


def test_every_stage_was_provisioned(whole_run: Finished) -> None:
    done = {event["name"] for event in whole_run.events("stage", state="ok", how="provisioned")}
    assert done >= set(STAGES)


def test_the_record_has_the_answer(whole_run: Finished) -> None:
    (fact,) = whole_run.events("fact", name="answer")
    assert "机密容器" in fact["value"]["text"]


def test_the_stand_ins_are_in_the_record(whole_run: Finished) -> None:
    start = whole_run.events("run", state="started")[0]
    assert "GPU" in start["profile"]["standins"]


def test_every_change_was_taken_back(whole_run: Finished) -> None:
    undone = whole_run.events("undo")
    assert {event["stage"] for event in undone} >= {"kata", "gpu", "network", "container"}
    assert not [event for event in undone if event["outcome"] == "failed"]


def test_nothing_is_left(whole_run: Finished) -> None:
    assert left_running(machines_root()) == []
    assert not list(machines_root().glob("lab-*"))


def test_a_run_changes_nothing_that_git_sees(whole_run: Finished) -> None:
    status = subprocess.run(
        ["git", "status", "--porcelain", "--", "reports", "profiles", "suites", "fixtures"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "??" not in status.stdout


def test_without_the_device_the_gpu_stage_fails(run_without_gpu: Finished) -> None:
    assert run_without_gpu.status == 1
    (failed,) = run_without_gpu.events("stage", state="failed")
    assert failed["name"] == "gpu"
    assert "no GPU to pass through" in failed["error"]
    assert "lspci" in failed["error"], "the message says where to look"


def test_without_the_device_what_depends_on_it_is_skipped(run_without_gpu: Finished) -> None:
    outcomes = run_without_gpu.outcomes()
    assert list(outcomes.values()).count("error") == 1, "one error for one cause"
    dependent = {n: o for n, o in outcomes.items() if "test_80_model" in n}
    assert dependent
    assert set(dependent.values()) == {"skipped"}
    assert 'stage "gpu" failed: no GPU to pass through' in run_without_gpu.output


def test_sigterm_undoes_and_leaves_nothing(terminated_run: Finished) -> None:
    assert terminated_run.status == 2, "pytest's status for an interrupted run"
    undone = {(event["stage"], event["outcome"]) for event in terminated_run.events("undo")}
    assert undone == {("gpu", "undone"), ("network", "undone")}
    assert left_running(machines_root()) == []


def test_a_bad_profile_is_one_sentence() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-m", "acceptance", "--profile", "no-such-lab"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 4
    assert "no-such-lab" in done.stderr
    assert "Traceback" not in done.stderr + done.stdout
