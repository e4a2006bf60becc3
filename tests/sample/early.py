"""A stage that is begun early: a job beside another stage; the environment says what both do."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import ClassVar

from harness.errors import LabError
from harness.profile.schema import BaseProfile
from harness.run.job import Job, start_job
from harness.run.stage import Run, Stage, stage
from tests.unit.patience import PATIENCE

REFUSED = "MINI_REFUSED"  # is set: the job is not even begun
ALARM = "MINI_ALARM"  # is set: what the job says is the time limit's end, for who waits for it
UNTIL = "until [ -e {} ]; do sleep 0.05; done; "
# By default each waits for the other: one after another, neither could end.
SCRIPTS = {
    "base": "",
    "other": UNTIL.format("begun") + "touch made-other",
    "long": "touch begun; " + UNTIL.format("made-other") + "rm begun",
}


class Scripted(Stage[BaseProfile, str]):
    """Carries out a script in the host's folder; MINI_ and its name says another."""

    name: ClassVar[str] = "base"

    def __init__(self, run: Run[BaseProfile]) -> None:
        self.run = run
        self.folder = Path(os.environ["MINI_STATE"]).parent
        self.script = os.environ.get(f"MINI_{self.name.upper()}", SCRIPTS[self.name])

    def provision(self) -> None:
        made = self.folder / f"made-{self.name}"
        self.run.journal.record(self.name, f"make {made}", [["rm", "-f", "--", str(made)]])
        self.run.host.sh(self.script, cwd=str(self.folder), timeout=PATIENCE)

    def verify(self) -> str:
        return self.name


class Other(Scripted):
    """The one beside it."""

    name: ClassVar[str] = "other"


class Long(Scripted):
    """The one with a job."""

    name: ClassVar[str] = "long"

    def start(self) -> None:
        if REFUSED in os.environ:
            raise LabError("No room.")
        argv = ["sh", "-euc", self.script]
        self.job: Job = start_job(
            self.run.host,
            "long",
            argv,
            journal=self.run.journal,
            cwd=str(self.folder),
            timeout=PATIENCE,
        )

    def provision(self) -> None:
        self.run.progress("waited for")
        self.job.finish(self._heard)

    def _heard(self, line: str) -> None:
        if ALARM in os.environ:
            signal.raise_signal(signal.SIGALRM)


@stage(budget=1000)
def base(run: Run[BaseProfile]) -> str:
    """What both need."""
    return run.stage(Scripted(run))


@stage(budget=1000)
def other(run: Run[BaseProfile], base: str) -> str:
    """A stage."""
    return run.stage(Other(run))


@stage(budget=1000, early=True)
def long_begun(run: Run[BaseProfile], base: str) -> Long:
    """The job, on its way."""
    return run.begin(Long(run))


@stage(budget=1000)
def long(run: Run[BaseProfile], long_begun: Long) -> str:
    """What the job makes."""
    return run.stage(long_begun)
