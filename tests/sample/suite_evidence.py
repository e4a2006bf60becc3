"""A test that fails while there is something to collect as evidence."""

import os
import signal
from typing import Any

import pytest

from harness.run.stage import Run
from tests.sample.stages import Made

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(1000)]


def ring() -> str:
    """The time of the test that failed is up."""
    os.kill(os.getpid(), signal.SIGALRM)
    return "it rings"


def test_good(run: Run[Any], one: Made) -> None:
    run.evidence.register("alarm", ring)
    run.evidence.register("broken", lambda: str(1 / 0))
    run.evidence.register("listing", lambda: run.host.run("ls", one.path).out)


def test_bad(one: Made) -> None:
    assert not one.exists(), "the failure itself"
