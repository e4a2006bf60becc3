"""A test that hangs, and a fixture that takes its time to go."""

import time
from collections.abc import Iterator
from typing import Any

import pytest

from harness.run.stage import Run
from tests.sample.stages import Made

pytestmark = pytest.mark.acceptance


@pytest.fixture(scope="session")
def slow(run: Run[Any], one: Made) -> Iterator[None]:
    """A fixture that takes its time to go."""
    yield
    run.progress("tearing down")
    time.sleep(1000)


def test_hangs(run: Run[Any], slow: None) -> None:
    run.progress("hung")
    time.sleep(1000)
