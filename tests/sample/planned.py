"""Stages that say in three ways what they would do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import pytest

from harness.profile.schema import BaseProfile
from harness.run.stage import Run
from tests.sample.stages import Made, Make


class Lower(Make):
    name: ClassVar[str] = "lower"
    durable: ClassVar[bool] = True

    @classmethod
    def plan(cls, profile: BaseProfile) -> Sequence[str]:
        return [f"lays the ground for {profile.name} by hush-hush"]


class Upper(Make):
    """Stands on the lower one.

    With more to say, which is not for a plan.
    """

    name: ClassVar[str] = "upper"


class Looks(Make):
    name: ClassVar[str] = "looks"

    @classmethod
    def plan(cls, profile: BaseProfile) -> Sequence[str]:
        return []


@pytest.fixture(scope="session")
def lower(run: Run[Any]) -> Made:
    """The lower."""
    return run.stage(Lower(run, "lower"))


@pytest.fixture(scope="session")
def upper(run: Run[Any], lower: Made) -> Made:
    """The upper."""
    return run.stage(Upper(run, "upper"))


@pytest.fixture(scope="session")
def looks(run: Run[Any], upper: Made, lower: Made) -> Made:
    """Looks on."""
    return run.stage(Looks(run, "looks"))
