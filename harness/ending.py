"""The end of a run: undo, the exit status, what others make of the record, what is left to say."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from harness.session import Session


class Ending:
    """A plugin, registered by `plugin.configure`."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.trouble: list[str] = []  # what went wrong in the hooks of `harness.hooks`

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """After every fixture's own teardown."""
        mine = self.session
        if mine.run_dir is None:
            return
        own = int(session.exitstatus)
        mine.interrupted = own == pytest.ExitCode.INTERRUPTED
        mine.close(failed=own != pytest.ExitCode.OK)
        hook = session.config.hook
        regression = bool(self._asked(hook.pytest_acceptance_ending))
        session.exitstatus = mine.status(own, bool(self.trouble), regression)
        mine.end(session.exitstatus)
        self._asked(hook.pytest_acceptance_ended)
        session.exitstatus = mine.status(own, bool(self.trouble), regression)

    def _asked(self, hook: Callable[..., object]) -> object:
        """What the reports answer. Whatever breaks there, the host is put back and recorded."""
        mine = self.session
        try:
            return hook(config=mine.config, folder=mine.run_dir)
        except Exception as error:
            self.trouble.append(f"REPORTS: {type(error).__name__}: {error}")
            self.trouble += traceback.format_tb(error.__traceback__)[-1].splitlines()
            return None

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Where to look, and what is left on the host."""
        mine = self.session
        if mine.run_dir is None:
            return
        terminalreporter.section("acceptance run")
        failed = [result for result in mine.undo if not result.ok]
        done = len(mine.undo) - len(failed)
        terminalreporter.write_line(f"undo: {done} changes taken back, {len(failed)} could not be")
        bad = [f"LEFT ON THE HOST {result}" for result in failed]
        bad += [mine.closing_error] if mine.closing_error else []
        for line in [*bad, *self.trouble]:
            terminalreporter.write_line(mine.trace.mask(line), red=True)
        if mine.kept or bad:
            for line in mine.way_back():
                terminalreporter.write_line(mine.trace.mask(line))
        terminalreporter.write_line(f"record: {mine.run_dir / 'record.jsonl'}")
        evidence = mine.run_dir / "evidence"
        if evidence.exists():
            terminalreporter.write_line(f"evidence: {evidence}")
