"""Budgets: how long a test may take, and each stage that it has to wait for."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Generator, Mapping
from typing import Any

import pytest

from harness.host.infra import TIMEOUT
from harness.plugin.session import Session
from harness.profile.schema import BaseProfile
from harness.run.clock import SLACK, Clock, Limit

# Keys in [budget]: for a test by itself, and for one command of a test. Others are fixtures' names.
TEST = "test"
COMMAND = "command"


class Budget:
    """A plugin: each test with this mark gets its time.

    pytest-timeout says when a test's time begins and ends; the alarm is ours (`harness.run.clock`).
    A fixture with a budget of its own, such as a stage, is not on the time of the test that happens
    to be the first to ask for it.
    """

    def __init__(self, session: Session, mark: str) -> None:
        self.session = session
        self.mark = mark
        self.clock = Clock(lambda: session.host)

    # pytest-timeout reads the limit in a wrapper of its own: this one has to stand before it.
    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, object, object]:
        """Give a test its limit in seconds, for pytest-timeout."""
        if item.get_closest_marker(self.mark) is not None:
            found = limits(self.session.profile)
            if TEST in found:
                more = [name for mark in item.iter_markers("budget") for name in mark.args]
                seconds = sum(found[name].seconds for name in (TEST, *more))
                item.add_marker(pytest.mark.timeout(seconds), append=False)
        return (yield)

    @pytest.hookimpl(optionalhook=True)
    def pytest_timeout_set_timer(self, item: pytest.Item, settings: Any) -> bool | None:
        """Our alarm in the place of pytest-timeout's: its other method ends all, with no undo."""
        from pytest_timeout import is_debugging  # type: ignore[import-untyped]

        main = threading.current_thread() is threading.main_thread()
        if item.get_closest_marker(self.mark) is None or not main:
            return None
        named = TEST if TEST in limits(self.session.profile) else ""
        limit = Limit(f"test '{item.name}'", settings.timeout, named)
        self.clock.start(
            limit, unless=lambda: not settings.disable_debugger_detection and is_debugging()
        )
        return True

    @pytest.hookimpl(optionalhook=True)
    def pytest_timeout_cancel_timer(self) -> None:
        """The test has ended, or failed; pytest-timeout's own is cancelled beside, if it goes."""
        self.clock.cancel()

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_setup(self) -> Generator[None, object, object]:
        """A phase, in which the time counts."""
        with self.clock.phase():
            return (yield)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_call(self) -> Generator[None, object, object]:
        """Likewise."""
        with self.clock.phase():
            return (yield)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_teardown(self) -> Generator[None, object, object]:
        """Likewise."""
        with self.clock.phase():
            return (yield)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_fixture_setup(
        self, fixturedef: pytest.FixtureDef[Any]
    ) -> Generator[None, object, object]:
        """A fixture with a budget is made, or waited for, within that one."""
        name = fixturedef.argname
        with contextlib.ExitStack() as stack:
            if self.clock.counts and name in (found := limits(self.session.profile)):
                stack.enter_context(self.clock.replaced_by(found[name]))
            return (yield)


def limits(profile: BaseProfile) -> Mapping[str, Limit]:
    """The limit of each stage, by its fixture's name, and of a "test": the profile's [budget]."""
    found = profile.budget.items()
    return {name: Limit(f"stage '{name}'", seconds, name, SLACK) for name, seconds in found}


def command(profile: BaseProfile) -> float:
    """Seconds for one command of a test's `host`: the profile's [budget] command, if it has one."""
    found = limits(profile).get(COMMAND)
    return TIMEOUT if found is None else found.seconds
