"""Three stages that make a file each; the second does more, as MINI_TWO names it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from harness.profile.schema import BaseProfile
from harness.run.stage import Run, Stage
from tests.sample import during


@dataclass(frozen=True)
class Made:
    path: str

    def exists(self) -> bool:
        return os.path.exists(self.path)


class Make(Stage[BaseProfile, Made]):
    """Makes a file, its removal in the journal first."""

    def __init__(self, run: Run[Any], name: str) -> None:
        self.run, self.name = run, name  # type: ignore[misc]  # a class for each would say less
        self.path = Path(os.environ["MINI_STATE"]).parent / f"made-{name}"

    def provision(self) -> None:
        there, gone = (["test", "-e", str(self.path)], ["rm", "--", str(self.path)])
        self.run.journal.record(self.name, f"make {self.path}", [gone], when=there)
        self.run.host.run("touch", str(self.path))
        self.during()

    def during(self) -> None:
        """What happens after the change."""

    def verify(self) -> Made:
        assert self.run.host.exists(str(self.path))
        return Made(str(self.path))


class Two(Make):
    def during(self) -> None:
        getattr(during, os.environ["MINI_TWO"])(self)


@pytest.fixture(scope="session")
def one(run: Run[BaseProfile]) -> Made:
    """The first stage."""
    return run.stage(Make(run, "one"))


@pytest.fixture(scope="session")
def two(run: Run[BaseProfile], one: Made) -> Made:
    """The second stage."""
    return run.stage(Two(run, "two"))


@pytest.fixture(scope="session")
def three(run: Run[BaseProfile], two: Made) -> Made:
    """The third stage."""
    return run.stage(Make(run, "three"))
