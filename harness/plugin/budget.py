"""Budgets: how long a test may take, given the stages that it has to wait for."""

from __future__ import annotations

from collections.abc import Generator, Mapping

import pytest

from harness.host.infra import TIMEOUT
from harness.plugin.collection import definitions
from harness.plugin.session import Session
from harness.profile.schema import BaseProfile


class Budget:
    """A plugin, registered by `plugin.configure`: each test with this mark gets its time."""

    def __init__(self, session: Session, mark: str) -> None:
        self.session = session
        self.mark = mark

    # pytest-timeout reads the limit in a wrapper of its own: this one has to stand before it.
    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, object, object]:
        """Give a test its limit, that of the stages which it waits for included."""
        if item.get_closest_marker(self.mark) is not None:
            found = limits(self.session.profile)
            if "test" in found:
                apply(item, found, found.pop("test"))
        return (yield)


def limits(profile: BaseProfile) -> dict[str, float]:
    """Seconds for each stage, by its fixture's name, and for a "test": the profile's [budget]."""
    section = getattr(profile, "budget", None)  # a schema need not have it
    return {} if section is None else dict(section)


def command(profile: BaseProfile) -> float:
    """Seconds for one command of a test's `host`: the profile's [budget] command, if it has one."""
    return limits(profile).get("command", TIMEOUT)


def apply(item: pytest.Item, stages: Mapping[str, float], test: float) -> None:
    """Give an item that is about to run its limit in seconds, for pytest-timeout.

    pytest-timeout counts a test's fixtures in, and the first test that asks for a session-scoped
    stage waits for it. So an item gets ``test`` seconds for itself, and the budget of each stage
    (by its fixture's name) that has not come about or failed yet. That is known only when the
    item's turn comes: an earlier one that should have waited for a stage may have been skipped. A
    stage that has been started in the background gets its whole budget all the same: it may have
    done little so far.
    """
    limit = test + sum(stages[name] for name in _pending(item) if name in stages)
    item.add_marker(pytest.mark.timeout(limit), append=False)


def _pending(item: pytest.Item) -> list[str]:
    """The fixtures of an item that have not been set up."""
    return [name for name, found in definitions(item).items() if found[-1].cached_result is None]
