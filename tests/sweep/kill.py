"""One killed run: at which change, how the recovery ended, and what is left on the lab."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from fixtures.fingerprint.differences import Answer, undeclared
from fixtures.profile import Profile
from harness.host.shape import read
from harness.profile.schema import load
from harness.run.stage import DECLARED, stage_classes
from harness.undo.lock import STATE_DIR
from tests.vlab.lab import ROOT, Finished, Lab, accept, command

PROGRAM = ROOT / "fixtures" / "fingerprint" / "program.py"
THERE, NOTE = "/root/fingerprint.py", "/root/fingerprint/note.json"
KILLED = -9


@dataclass(frozen=True)
class Killed:
    """``change`` is empty where the run came to its end by itself."""

    change: str
    run: Finished
    recovered: int = 0
    left: tuple[str, ...] = ()

    @property
    def clean(self) -> bool:
        """Whether the recovery has put back all."""
        return self.recovered == 0 and not self.left


def kill(lab: Lab, suites: str, at: str, seen: Path, only: str = "") -> Killed:
    """Kill a run on a lab at its first change that is not in the file ``seen``, and recover.

    ``at`` is 'entry' or 'change' (`tests.sweep.killer`); ``only``: a text of the change that is
    meant.
    """
    name = lab.machine.name
    lab.put(PROGRAM, THERE)
    _asked(lab, "note")
    run = accept(
        suites,
        options=["-p", "tests.sweep.killer"],
        environ={"SWEEP_SEEN": str(seen), "SWEEP_AT": at, "SWEEP_ONLY": only},
        VLAB__NAME=name,
        VLAB__FRESH="false",
    )
    if run.status != KILLED:
        return Killed("", run)
    recovery = command("recover", module="harness", env={**os.environ, "ACCEPT_VLAB__NAME": name})
    left = undeclared(_asked(lab, "compare").differences, _kept())
    change = seen.read_text("utf-8").splitlines()[-1]
    return Killed(change, run, recovery.returncode, tuple(map(str, left)))


def _asked(lab: Lab, verb: str) -> Answer:
    said = lab.do(f"python3 {THERE} {verb} {NOTE} HARNESS_COMMAND quick")
    return read(said, Answer, "the fingerprint should be JSON")


def _kept() -> list[str]:
    """What a run may leave."""
    budgets = {name: declared.budget for name, declared in DECLARED.items()}
    profile = load("vlab", Profile, {}, ROOT / "profiles", budgets)
    kept = [f"file {STATE_DIR}{what}" for what in ("", "/stages*", "/journal*", "/jobs")]
    return [*kept, *(each for kind in stage_classes() for each in kind.keeps(profile, STATE_DIR))]
