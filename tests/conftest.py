"""What the tests that take hours have in common."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

import pytest

Shown = Callable[[], AbstractContextManager[None]]


@pytest.fixture(scope="session")
def shown(pytestconfig: pytest.Config) -> Shown:
    """For a block whose output is for the terminal, at once: it takes minutes."""
    capture = pytestconfig.pluginmanager.get_plugin("capturemanager")
    assert capture is not None
    within: Shown = capture.global_and_fixture_disabled
    return within
