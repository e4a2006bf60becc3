"""What the harness asks other plugins when a run ends: pytest hooks, for the reports.

So the harness needs to know nothing of them, and a run without them is whole all the same.
"""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.hookspec(firstresult=True)
def pytest_acceptance_ending(config: pytest.Config, folder: Path) -> bool | None:
    """The host is put back, and the record is still open for facts; true: a regression."""


@pytest.hookspec
def pytest_acceptance_ended(config: pytest.Config, folder: Path) -> None:
    """The record is complete, and lies in `folder`. What this raises is a harness error."""
