"""Budgets: how long a test may take, given the stages that it is the first to ask for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import pytest


def apply(items: Iterable[pytest.Item], stages: Mapping[str, float], test: float) -> None:
    """Give every item its limit in seconds, for pytest-timeout.

    pytest-timeout counts a test's fixtures in, and the first test that asks for a session-scoped
    stage waits for it. So an item gets ``test`` seconds for itself, and the budget of each stage
    (by its fixture's name) that no item before it has asked for. ``items`` are in running order.
    """
    begun: set[str] = set()
    for item in items:
        names = getattr(item, "fixturenames", ())
        fresh = {name for name in names if name in stages} - begun
        begun |= fresh
        limit = test + sum(stages[name] for name in fresh)
        item.add_marker(pytest.mark.timeout(limit), append=False)
