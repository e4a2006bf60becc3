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
