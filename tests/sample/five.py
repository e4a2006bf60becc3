"""A stage of five changes that can be killed anywhere within it; the environment says where.

A gate says by a file where the run is, and waits to be killed. That of a step's "before" is reached
when the journal has the change and the host has not; "within" is in the middle of the command that
makes the change, on the host.
"""

from __future__ import annotations

import os
import shlex
import time
from pathlib import Path
from typing import Any, ClassVar

import pytest

from harness.profile.schema import BaseProfile
from harness.run import job
from harness.run.job import start_job
from harness.run.stage import Run, Stage
from harness.undo.journal import Entry, Journal

STEPS = ["file", "change", "tree", "job", "link"]
GATE, AT = "MINI_GATE", "MINI_AT"  # "WHEN STEP", and the file that says that the run is there
STUCK = "MINI_STUCK"  # a script that stands for the undo of a sixth change
DATA = "MINI_DATA"  # the folder that is changed


class Five(Stage[BaseProfile, str]):
    """Changes of five kinds, one after another."""

    name: ClassVar[str] = "five"

    def __init__(self, run: Run[BaseProfile]) -> None:
        self.run, self.host = run, run.host
        self.data = os.environ[DATA]
        self.step = ""
        self._record = run.journal.record
        run.journal.record = self._recorded  # type: ignore[method-assign]

    def _gate(self, place: str) -> None:
        if f"{place} {self.step}" == os.environ.get(GATE):
            Path(os.environ[AT]).touch()
            time.sleep(1000)

    @property
    def _hang(self) -> str:
        """What a command does in its middle."""
        there = os.environ.get(GATE) == f"within {self.step}"
        return f"touch {shlex.quote(os.environ[AT])}; sleep 1000" if there else ":"

    def _recorded(self, *args: Any, **options: Any) -> Entry:
        entry = self._record(*args, **options)
        self._gate("before")
        return entry

    def provision(self) -> None:
        for self.step in STEPS:
            getattr(self, f"_{self.step}")(self.run.journal)
            self._gate("after")
            if self.step == "tree" and (stuck := os.environ.get(STUCK)):
                undo = [["sh", "-c", stuck, "sh", self.data]]
                self.run.journal.record("five", "stuck", undo)

    def _file(self, journal: Journal) -> None:
        journal.record("five", "file", [["rm", "-f", "--", f"{self.data}/made"]])
        self.host.sh(f'printf ma >"$1"; {self._hang}; printf de >>"$1"', f"{self.data}/made")

    def _change(self, journal: Journal) -> None:
        journal.save_file("five", f"{self.data}/settings")
        self.host.sh(f'printf n >"$1"; {self._hang}; printf ew >>"$1"', f"{self.data}/settings")

    def _tree(self, journal: Journal) -> None:
        journal.record("five", "tree", [["rm", "-rf", "--", f"{self.data}/tree"]])
        make = 'mkdir -p "$1/a b"; echo one >"$1/a b/one"'
        self.host.sh(f'{make}; {self._hang}; ln "$1/a b/one" "$1/two"', f"{self.data}/tree")

    def _job(self, journal: Journal) -> None:
        body = "setsid sleep 1000 & exec sleep 1000"
        job._START = job._START.replace("if [ -d", f"{self._hang}\nif [ -d", 1)
        start_job(self.host, "serve", ["sh", "-c", body], journal=journal, stage="five")

    def _link(self, journal: Journal) -> None:
        current = f"{self.data}/current"
        undo = [["rm", "-f", "--", f"{current}.new"], ["ln", "-sfnT", "v1", current]]
        journal.record("five", "link", undo)
        self.host.sh(f'ln -s v2 "$1.new"; {self._hang}; mv -fT "$1.new" "$1"', current)

    def verify(self) -> str:
        return self.data


@pytest.fixture(scope="session")
def five(run: Run[BaseProfile]) -> str:
    """The stage."""
    return run.stage(Five(run))
