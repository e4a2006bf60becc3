"""An early stage that does not end when it is told to, and a test that ends the run meanwhile."""

import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from harness.run.stage import Run, stage
from harness.wait import wait_for
from tests.sample.stages import Made, Make
from tests.unit.patience import PATIENCE

pytestmark = pytest.mark.acceptance


class Stuck(Make):
    def during(self) -> None:
        self.run.host.run("touch", f"{self.path}.stuck")
        time.sleep(1000)


@stage(budget=1000, early=True)
def stuck(run: Run[Any], one: Made) -> Made:
    """A stage that does not hear."""
    return run.stage(Stuck(run, "stuck"))


def test_first(run: Run[Any], one: Made) -> None:
    close = partial(run.background.close, grace=0, kill=0.1)  # there is no sense in waiting longer
    run.background.close = close  # type: ignore[method-assign]
    wait_for("it is stuck", Path(one.path).with_name("made-stuck.stuck").exists, PATIENCE, 0.02)
    raise KeyError("first")


def test_stuck(stuck: Made) -> None:
    assert stuck.exists()
