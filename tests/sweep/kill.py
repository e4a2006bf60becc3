"""Runs that are killed: how the recovery ended, and what is left on the lab."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import vlab
from fixtures.fingerprint.differences import Answer, undeclared
from fixtures.profile import Profile
from harness.host.shape import read
from harness.profile.schema import load
from harness.run.stage import DECLARED, stage_classes
from harness.undo.lock import STATE_DIR
from tests.vlab.lab import ROOT, Finished, Lab, pass_on
from vlab import image, machine
from vlab.registry import Life
from vlab.saved import State

PROGRAM = ROOT / "fixtures" / "fingerprint" / "program.py"
THERE, NOTE = "/root/fingerprint.py", "/root/fingerprint/note.json"
KILLED = -9
POWER, RECOVERY = "power", "recovery"  # see tests/sweep/points.py
# What a boot makes, and unmakes when its time has come.
ANEW = ("file /run/*", "mount /run/credentials/*")


@dataclass(frozen=True)
class Killed:
    """``change`` is empty where the run came to its end by itself."""

    change: str
    run: Finished
    recovered: int = 0
    left: tuple[str, ...] = ()


def kill(lab: Lab, suites: str, seen: Path, only: str, options: Sequence[str] = ()) -> Killed:
    """Kill a run on a lab in the midst of the change that has the text ``only``, and recover.

    The change is written to the file ``seen``; ``options`` are pytest's.
    """
    note(lab)
    run = lab.accept(
        suites,
        options=["-p", "tests.sweep.killer", *options],
        environ={"SWEEP_SEEN": str(seen), "SWEEP_ONLY": only},
    )
    if run.status != KILLED:
        return Killed("", run)
    status, left = taken_back(lab)
    return Killed(seen.read_text("utf-8").strip(), run, status, left)


@contextmanager
def tried(name: str, since: State | None) -> Iterator[Lab]:
    """A lab for the block, with its fingerprint noted on it; it goes on from ``since``."""
    up = machine.start(
        image.ensure(print), vlab.Settings(), print, life=Life.FREE, name=name, state=since
    )
    try:
        lab = Lab(up)
        note(lab)
        yield lab
    finally:
        vlab.down(up, force=True)


def note(lab: Lab) -> None:
    """Take the lab's fingerprint, and leave it there."""
    lab.put(PROGRAM, THERE)
    _asked(lab, "note")
    lab.do("sync")


def taken_back(lab: Lab, at: str = "") -> tuple[int, tuple[str, ...]]:
    """Recover a lab: how that ended, and what is otherwise than was noted.

    ``at``: the power of the lab has been cut, or the first recovery is killed.
    """
    if at == RECOVERY:
        recover(lab, kill_at=": undone")
    status = recover(lab)
    kept = [*_kept(), *(ANEW if at == POWER else ())]
    left = undeclared(_asked(lab, "compare").differences, kept)
    return status, tuple(map(str, left))


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
            pass_on(line.rstrip("\n"))
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
