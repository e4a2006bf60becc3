"""A stage that has the name of one of the project's, for suites that are found by it."""

from __future__ import annotations

from typing import Any

from harness.run.stage import Run, stage
from tests.sample.stages import Made


@stage(budget=1000)
def platform(run: Run[Any], one: Made) -> Made:
    return one
