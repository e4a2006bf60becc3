"""pytest's own output: readable and masked before anybody sees it, written by the run's screen.

A report is cleaned and masked as a whole, before the terminal, junit.xml and the cache get it:
tracebacks with their locals, captured output, properties, reasons, names. The screen masks what
goes to the terminal besides (warnings, headings), and `Session.end` what is in files of others.
With `-s` a test's own prints go past all of this: nothing captures them.
"""

from __future__ import annotations

import contextlib
from collections.abc import Generator
from typing import Any, TextIO, TypeVar, cast

import pytest

from harness.plugin.session import Session
from harness.text import readable

R = TypeVar("R", pytest.TestReport, pytest.CollectReport)

REPORTER = "terminalreporter"  # the name of pytest's own plugin
# What pytest tells reports and their parts by; none of it comes from a test.
_OWN = frozenset({"$report_type", "when", "outcome", "type", "style"})


class Output:
    """A plugin that masks reports, and that has pytest's reporter write to the screen."""

    def __init__(self, config: pytest.Config, session: Session) -> None:
        self.config = config
        self.session = session
        self.screen = session.screen
        self._reports = False  # whether the reporter is ours by now

    def pytest_plugin_registered(
        self, plugin: object, plugin_name: str, manager: pytest.PytestPluginManager
    ) -> None:
        """In the place of pytest's own reporter put one that writes to the screen."""
        if plugin_name == REPORTER and not self._reports:
            self._reports = True
            ours = pytest.TerminalReporter(self.config, cast(TextIO, self.screen))
            self.screen.begin_line = ours.ensure_newline
            manager.unregister(plugin)
            manager.register(ours, REPORTER)

    def _task(self, name: str, wanted: object = True) -> contextlib.AbstractContextManager[None]:
        if not wanted or self.session.run_dir is None:
            return contextlib.nullcontext()
        return self.screen.task(name)

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(
        self, fixturedef: pytest.FixtureDef[Any]
    ) -> Generator[None, object, object]:
        """Show what is waited for: a fixture of the session is the host or a stage."""
        with self._task(fixturedef.argname, fixturedef.scope == "session"):
            return (yield)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Generator[None, None, None]:
        """Likewise a test that takes long itself."""
        with self._task(item.name):
            yield

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_makereport(
        self, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Mask a test's report, after everybody else has had a hand in it."""
        with self._task("evidence", call.excinfo):
            return self._masked((yield))

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_make_collect_report(
        self,
    ) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
        """Likewise that of a file that could not be collected."""
        return self._masked((yield))

    def _masked(self, report: R) -> R:
        hook = self.config.hook
        data = hook.pytest_report_to_serializable(config=self.config, report=report)
        masked = self._texts(data)
        if masked == data:
            return report
        fresh: R = hook.pytest_report_from_serializable(config=self.config, data=masked)
        if isinstance(report, pytest.CollectReport):  # a report that travels has lost its nodes
            fresh.result = report.result
        return fresh

    def _texts(self, value: Any) -> Any:
        if isinstance(value, str):
            return self.session.trace.mask(readable(value))
        if isinstance(value, dict):
            return {
                self._texts(key): item if key in _OWN else self._texts(item)
                for key, item in value.items()
            }
        if isinstance(value, list | tuple):
            return type(value)(self._texts(item) for item in value)
        return value

    def pytest_enter_pdb(self) -> None:
        """A debugger has the terminal to itself."""
        self.screen.rest()
