"""``kill -9`` after every entry of the journal and in the middle of every change, then the undo.

Each is a run of its own, up to that change: hours on an emulated lab. SWEEP_SUITES says which
suites (default: all), SWEEP_CHANGES how many changes at most. Every line is printed at once.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from fixtures.fingerprint.differences import Answer, undeclared
from fixtures.profile import Profile
from harness.host.shape import read
from harness.profile.schema import load
from harness.run.stage import DECLARED, stage_classes
from harness.undo.lock import STATE_DIR
from tests.vlab.conftest import Shown, started
from tests.vlab.lab import ROOT, Lab, accept, command

pytestmark = pytest.mark.timeout(0)

SUITES = os.environ.get("SWEEP_SUITES", "acceptance")
AT_MOST = int(os.environ.get("SWEEP_CHANGES", "1000"))
PROGRAM, NOTE = "/root/fingerprint.py", "/root/fingerprint/note.json"
KILLED = -9


@pytest.fixture(scope="module")
def lab(pytestconfig: pytest.Config, shown: Shown) -> Iterator[Lab]:
    """A lab that stays up, with the program that notes what it has."""
    for up in started(shown, Lab.up()):
        up.put(ROOT / "fixtures" / "fingerprint" / "program.py", PROGRAM)
        yield up


def _kept() -> list[str]:
    """What a run may leave."""
    budgets = {name: declared.budget for name, declared in DECLARED.items()}
    profile = load("vlab", Profile, {}, ROOT / "profiles", budgets)
    kept = [f"file {STATE_DIR}{what}" for what in ("", "/stages*", "/journal*", "/host.lock*")]
    return [*kept, *(each for kind in stage_classes() for each in kind.keeps(profile, STATE_DIR))]


def _asked(lab: Lab, verb: str) -> Answer:
    said = lab.do(f"python3 {PROGRAM} {verb} {NOTE} HARNESS_COMMAND quick")
    return read(said, Answer, "the fingerprint should be JSON")


@pytest.mark.parametrize("at", ["entry", "change"])
def test_nothing_is_left_wherever_a_run_is_killed(
    lab: Lab, shown: Shown, tmp_path: Path, at: str
) -> None:
    seen = tmp_path / "seen"
    seen.write_text("")
    lines: list[str] = []
    for number in range(1, AT_MOST + 1):
        with shown():
            _asked(lab, "note")
            run = accept(
                SUITES,
                options=["-p", "tests.sweep.killer"],
                environ={"SWEEP_SEEN": str(seen), "SWEEP_AT": at},
                VLAB__NAME=lab.machine.name,
                VLAB__FRESH="false",
            )
            if run.status != KILLED:
                break
            change = seen.read_text("utf-8").splitlines()[-1]
            recovered = command_of_recovery(lab)
            left = undeclared(_asked(lab, "compare").differences, _kept())
            how = "clean" if recovered == 0 and not left else f"{recovered}, {[*map(str, left)]}"
            lines.append(f"{number:2} killed at the {at} {change}: {how}")
            print(lines[-1], flush=True)
    else:
        run = None
    assert lines, "no run was killed"
    assert [line for line in lines if not line.endswith(": clean")] == []
    assert run is None or run.status == 0, run.output[-3000:]


def command_of_recovery(lab: Lab) -> int:
    """The exit status of ``python -m harness recover`` for this lab."""
    return command(
        "recover", module="harness", env={**os.environ, "ACCEPT_VLAB__NAME": lab.machine.name}
    ).returncode
