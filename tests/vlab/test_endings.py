"""Runs that do not pass: for the right reason, interrupted, or refused."""

import subprocess
import sys

import pytest

from tests.vlab.lab import ROOT, Finished, nothing_runs
from vlab.registry import machines_root

pytestmark = pytest.mark.timeout(3600)


def test_sigterm_undoes_and_leaves_nothing(terminated_run: Finished) -> None:
    assert terminated_run.status == 2, "pytest's status for an interrupted run"
    undone = {(event["stage"], event["outcome"]) for event in terminated_run.events("undo")}
    assert {("gpu", "undone"), ("network", "undone")} <= undone
    assert {outcome for _, outcome in undone} <= {"undone", "not needed"}
    lab = f"lab-{terminated_run.pid}-"
    nothing_runs(lab)
    assert not list(machines_root().glob(f"{lab}*"))


def test_a_partitioned_image_is_grown_and_filled(terminated_run: Finished) -> None:
    (stage,) = terminated_run.events("stage", name="rootfs", state="ok")
    assert stage["facts"]["layout"].startswith("partition 1 ")
    tests = terminated_run.events("test")
    assert "suites/test_rootfs.py::test_file_system_fills_the_image" in {
        event["nodeid"] for event in tests if event["outcome"] == "passed"
    }
    assert [event for event in tests if event["outcome"] in ("failed", "error")] == []


def test_a_whole_group_is_unbound_and_given_back(terminated_run: Finished) -> None:
    (stage,) = terminated_run.events("stage", name="gpu", state="ok")
    assert sorted(stage["facts"]["before"].values()) == ["snd_hda_intel", "virtio-pci"]
    back = terminated_run.events("undo", stage="gpu", outcome="undone")
    assert any("snd_hda_intel" in event["what"] for event in back)


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
