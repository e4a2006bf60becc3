"""A project that takes two files from outside: a tool, by its profile, and data, by the lock."""

from __future__ import annotations

import os
from pathlib import Path
from typing import ClassVar

from harness.profile.schema import BaseProfile, Section
from harness.run.assets import deliver
from harness.run.carried import AssetFile
from harness.run.stage import Run, Stage, stage


class Parts(Section):
    """The files, where the profile names them."""

    tool: AssetFile | None = None
    data: AssetFile | None = None


class Profile(BaseProfile):
    """A lab with parts."""

    parts: Parts = Parts()


def pytest_acceptance_schema() -> type[BaseProfile]:
    return Profile


class Bring(Stage[Profile, str]):
    """Put both on the host."""

    name: ClassVar[str] = "brought"

    def __init__(self, run: Run[Profile]) -> None:
        self.run = run
        self.folder = Path(os.environ["MINI_STATE"]).parent / "made-parts"

    def provision(self) -> None:
        self.run.journal.record(self.name, "parts", [["rm", "-rf", "--", str(self.folder)]])
        self.run.host.run("mkdir", "-p", str(self.folder))
        for name, file in self.run.profile.parts:
            to = str(self.folder / name)
            deliver(file.asset(), self.run.host, to, only=self.run.offline)

    def verify(self) -> str:
        return str(self.folder)


@stage(budget=60)
def brought(run: Run[Profile]) -> str:
    """The folder with both."""
    return run.stage(Bring(run))
