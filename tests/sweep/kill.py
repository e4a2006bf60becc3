"""One killed run: at which change, how the recovery ended, and what is left on the lab."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import vlab
from fixtures.fingerprint.differences import Answer, undeclared
from fixtures.profile import Profile
from harness.host.shape import read
from harness.profile.schema import load
from harness.run.stage import DECLARED, stage_classes
from harness.undo.lock import STATE_DIR
from tests.vlab.lab import ROOT, Finished, Lab, accept

PROGRAM = ROOT / "fixtures" / "fingerprint" / "program.py"
THERE, NOTE = "/root/fingerprint.py", "/root/fingerprint/note.json"
KILLED = -9
# Where a run is killed: with a change in the journal that has not begun, or under way; the latter
# also with the lab's power cut in the same moment, or with the first recovery killed, too.
ENTRY, CHANGE, POWER, RECOVERY = "entry", "change", "power", "recovery"
ANEW = ("file /run/*",)  # a boot makes these
POINTS = (ENTRY, CHANGE, POWER, RECOVERY)


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

    ``at`` is one of POINTS; ``only``: a text of the change that is meant. For POWER the lab should
    have done nothing since it booted, as what a boot makes anew is no difference then.
    """
    lab.put(PROGRAM, THERE)
    _asked(lab, "note")
    lab.do("sync")
    run = accept(
        suites,
        options=["-p", "tests.sweep.killer"],
        environ={"SWEEP_SEEN": str(seen), "SWEEP_AT": at, "SWEEP_ONLY": only},
        VLAB__NAME=lab.machine.name,
        VLAB__FRESH="false",
    )
    if run.status != KILLED:
        return Killed("", run)
    if at == POWER:
        vlab.reset(lab.machine)
    if at == RECOVERY:
        recover(lab, kill_at=": undone")
    status = recover(lab)
    kept = [*_kept(), *(ANEW if at == POWER else ())]
    left = undeclared(_asked(lab, "compare").differences, kept)
    change = seen.read_text("utf-8").splitlines()[-1]
    return Killed(change, run, status, tuple(map(str, left)))


def recover(lab: Lab, kill_at: str = "") -> int:
    """``python -m harness recover`` on the lab, killed when it prints a text; its exit status."""
    with subprocess.Popen(
        [sys.executable, "-m", "harness", "recover"],
        cwd=ROOT,
        env={**os.environ, "ACCEPT_VLAB__NAME": lab.machine.name},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        for line in process.stdout or ():
            print(f"    | {line}", end="", file=sys.__stdout__, flush=True)
            if kill_at and kill_at in line:
                process.kill()
    return process.returncode


def _asked(lab: Lab, verb: str) -> Answer:
    said = lab.do(f"python3 {THERE} {verb} {NOTE} HARNESS_COMMAND quick")
    return read(said, Answer, "the fingerprint should be JSON")


def _kept() -> list[str]:
    """What a run may leave."""
    budgets = {name: declared.budget for name, declared in DECLARED.items()}
    profile = load("vlab", Profile, {}, ROOT / "profiles", budgets)
    kept = [f"file {STATE_DIR}{what}" for what in ("", "/stages*", "/journal*", "/jobs")]
    return [*kept, *(each for kind in stage_classes() for each in kind.keeps(profile, STATE_DIR))]
