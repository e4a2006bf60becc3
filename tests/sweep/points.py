"""The points at which a run may be killed: kept as states of the lab, and what a recovery leaves.

From the state of a lab another one goes on, without the run: its connections are closed, as they
are when a process is killed. What had been begun on the lab goes on there, or ends with them.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import vlab
from tests.sweep import kill
from tests.vlab.lab import Lab
from vlab import image, machine, saved
from vlab.errors import VlabError
from vlab.registry import Life

ENTRY, CHANGE, POWER, RECOVERY = "entry", "change", "power", "recovery"
# With a change in the journal that has not begun, or under way; the latter also with the lab's
# power cut in that moment, or with the first recovery killed, too.
OF_STATE = {ENTRY: (ENTRY,), CHANGE: (CHANGE, POWER, RECOVERY)}
WANTED = os.environ.get("SWEEP_AT", " ".join((ENTRY, CHANGE, POWER, RECOVERY))).split()
KEPT = [at for at in OF_STATE if {*OF_STATE[at]} & {*WANTED}]
NAME = "change"  # in a state's folder
KILLED = -9

# What sshd does when the other end of its connections is gone; not to the one that this comes by.
CLOSED = """
mine=" $$ "; up=$$
while [ "$up" -gt 1 ]; do up=$(ps -o ppid= -p "$up" | tr -d ' '); mine="$mine$up "; done
for other in $(pgrep -f '^sshd-session'); do
    case "$mine" in *" $other "*) ;; *) kill "$other" ;; esac
done
"""


@dataclass(frozen=True)
class Swept:
    """A point, how its recovery ended, and what it left."""

    number: str
    change: str
    at: str
    status: int
    left: tuple[str, ...]

    @property
    def clean(self) -> bool:
        """Whether the recovery has put back all."""
        return self.status == 0 and not self.left

    def __str__(self) -> str:
        how = "clean" if self.clean else f"recover ended with {self.status}, left {self.left}"
        return f"{self.number} {self.at:8} {self.change}: {how}"


def keep(
    states: Path,
    suites: str,
    changes: tuple[int, int],
    since: saved.State | None,
    end: Path,
) -> bool:
    """Carry out suites on a lab of their own and keep it at these changes; whether it has ended.

    The lab goes on from ``since``. The run is killed after the last of the changes; a lab where it
    came to its end is kept in ``end``. Raises AssertionError where one that is not killed fails.
    """
    states.mkdir()
    first, last = changes
    with kill.tried(f"sweep-{first}", since) as lab:
        work = saved.work_of(lab.machine)
        run = lab.accept(
            suites,
            options=["-p", "tests.sweep.keeper"],
            environ={
                "SWEEP_STATES": str(states),
                "SWEEP_CHANGES": f"{first} {last}",
                "SWEEP_WORK": str(work),
            },
        )
        assert run.status in (0, KILLED), run.output[-3000:]
        if run.status == 0 and not end.exists():
            saved.save(lab.machine, end, work, anew=False)
    return run.status == 0


def swept(state: Path, part: str) -> Iterator[Swept]:
    """What a recovery leaves at each point that this state stands for; it is deleted then."""
    number, at = state.name.split("-")
    change = (state / NAME).read_text("utf-8")
    for point in [point for point in OF_STATE[at] if point in WANTED]:
        found = saved.read(state)
        assert found is not None, state
        lab = _gone_on(replace(found, cold=point == POWER), f"swept-{part}-{number}-{point}")
        try:
            subprocess.run([*lab.ssh, CLOSED], check=True)
            status, left = kill.taken_back(Lab(lab), point)
        finally:
            vlab.down(lab, force=True)
        yield Swept(f"{part}.{number}", change, point, status, left)
    shutil.rmtree(state)


def _gone_on(state: saved.State, name: str) -> vlab.Machine:
    """A lab in this state. One that does not go on is said, and tried once more.

    What is tried here is a recovery, and not QEMU: see `saved.SILENCE`. One that does not boot
    after a power cut is what is looked for.
    """
    start = partial(
        machine.start, image.ensure(print), vlab.Settings(), print, life=Life.FREE, state=state
    )
    try:
        return start(name=name)
    except VlabError as error:
        if state.cold:
            raise
        print(f"{name}: once more, since {error}", flush=True)
        return start(name=f"{name}-again")
