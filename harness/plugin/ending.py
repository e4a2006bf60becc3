"""The end of a run: undo, the exit status, what others make of the record, what is left to say."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Generator, Iterator

import pytest

from harness.plugin.session import Session
from harness.undo.undo import undisturbed


class Ending:
    """A plugin, registered by `plugin.configure`."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self._said = False

    # The innermost of the wrappers: pytest's reporter is one, and writes its summary after this.
    @pytest.hookimpl(wrapper=True, trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> Generator[None, object, object]:
        """After every fixture's own teardown, also one that a further Ctrl-C has cut short."""
        result: object = None
        try:
            result = yield
        except KeyboardInterrupt:
            session.exitstatus = pytest.ExitCode.INTERRUPTED
        if self.session.run_dir is not None:
            session.exitstatus = self._finish(int(session.exitstatus))
        return result

    def _finish(self, own: int) -> int:
        """Put the host back, whatever comes in between; the exit status, from that of pytest."""
        mine = self.session
        hook = mine.config.hook
        with undisturbed(mine.say):
            mine.interrupted = own == pytest.ExitCode.INTERRUPTED
            mine.close(failed=own != pytest.ExitCode.OK)
            regression = bool(self._asked(hook.pytest_acceptance_ending))
            mine.end(mine.status(own, regression))
            self._asked(hook.pytest_acceptance_ended)
            return mine.status(own, regression)

    def _asked(self, hook: Callable[..., object]) -> object:
        """What the reports answer. Whatever breaks there, the host is put back and recorded."""
        mine = self.session
        try:
            return hook(config=mine.config, folder=mine.run_dir)
        except Exception as error:
            where = traceback.format_tb(error.__traceback__)[-1].rstrip()
            mine.trouble.append(f"REPORTS: {type(error).__name__}: {error}\n{where}")
            return None

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Where to look, and what is left on the host."""
        if self.session.run_dir is None:
            return
        terminalreporter.section("acceptance run")
        for line, bad in self._lines():
            terminalreporter.write_line(self.session.trace.mask(line), red=bad)
        self._said = True

    def last_resort(self) -> None:
        """Where an interruption struck beside all of this: the same, and the same lines."""
        mine = self.session
        if mine.run_dir is None or mine.config.option.recover:
            return
        if not mine.ended:
            self._finish(int(pytest.ExitCode.INTERRUPTED))
        if not self._said:
            self._said = True
            for line, _ in self._lines():
                mine.say(line)

    def _lines(self) -> Iterator[tuple[str, bool]]:
        """What is left to say, and whether it is bad."""
        mine = self.session
        assert mine.run_dir is not None
        failed = [result for result in mine.undo if not result.ok]
        done = len(mine.undo) - len(failed)
        yield f"undo: {done} changes taken back, {len(failed)} could not be", False
        for result in failed:
            yield f"LEFT ON THE HOST {result}", True
        for trouble in filter(None, [mine.closing_error, *mine.troubles]):
            yield from ((line, True) for line in trouble.splitlines())
        if mine.kept or failed or mine.closing_error:
            yield from ((line, False) for line in mine.way_back())
        yield f"record: {mine.run_dir / 'record.jsonl'}", False
        evidence = mine.run_dir / "evidence"
        if evidence.exists():
            yield f"evidence: {evidence}", False
