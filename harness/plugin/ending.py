"""The end of a pytest run: undo, reports, exit status, last lines on the terminal."""

from __future__ import annotations

import copy
import traceback
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from typing import Any

import pytest

from harness.outcome import Outcome
from harness.plugin.output import REPORTER
from harness.plugin.session import Session
from harness.record.trace import BLOCKED, NOT_ASSESSED
from harness.text import readable
from harness.undo.undo import deferred_signals


class Ending:
    """A plugin; `last_resort` does the same where pytest's own hooks are not called."""

    def __init__(self, config: pytest.Config, session: Session) -> None:
        self.config = config
        self.session = session
        self._printed = False

    # The innermost of the wrappers: pytest's reporter is one, and writes its summary after this.
    @pytest.hookimpl(wrapper=True, trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> Generator[None, object, object]:
        """After every fixture's own teardown, also one that a further Ctrl-C has cut short."""
        result: object = None
        interrupts = self.session.interrupts
        try:
            interrupts.again = True
            result = yield
        except KeyboardInterrupt:
            session.exitstatus = pytest.ExitCode.INTERRUPTED
        finally:
            interrupts.again = False
        if self.session.run_dir is not None:
            session.exitstatus = self._finish(int(session.exitstatus))
            reporter = self.config.pluginmanager.get_plugin(REPORTER)
            if reporter is not None and (errors := reporter.stats.get("error")):
                errors[:] = map(_of_the_stage, errors)
        return result

    def _finish(self, own: int) -> int:
        """Undo, whatever fails on the way. Returns the exit status; `own` is pytest's."""
        mine = self.session
        hook = self.config.hook
        with deferred_signals(mine.say):
            mine.outcome.pytest_status = own
            mine.close()
            self._call(hook.pytest_acceptance_ending)
            mine.end()
            self._call(hook.pytest_acceptance_ended)
            return mine.exit_status

    def _call(self, hook: Callable[..., object]) -> None:
        """Call a hook of the reports; its error becomes a harness error and stops nothing."""
        try:
            hook(config=self.config, folder=self.session.run_dir)
        except Exception as error:
            where = traceback.format_tb(error.__traceback__)[-1].rstrip()
            text = f"REPORTS: {type(error).__name__}: {error}\n{where}"
            self.session.outcome.note_harness_error(text)

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Print where record and evidence are, and the changes that are left on the host."""
        if self.session.run_dir is None or self.session.screen.relay is not None:
            return  # of a fleet's worker there is no terminal: `last_resort`
        terminalreporter.section("acceptance run")
        for line in _not_run(terminalreporter.stats):
            terminalreporter.write_line(line)
        for line, bad in self._lines():
            terminalreporter.write_line(self.session.trace.mask(readable(line)), red=bad)
        self._printed = True

    def last_resort(self) -> None:
        """Finish, and print the last lines, where an interruption kept pytest from doing so."""
        mine = self.session
        if mine.run_dir is None:
            return
        if not mine.ended:
            self._finish(int(pytest.ExitCode.INTERRUPTED))
        if not self._printed:
            self._printed = True
            for line, _ in self._lines():
                mine.say(line)

    def _lines(self) -> Iterator[tuple[str, bool]]:
        """The last lines, each with whether it is bad news."""
        run_dir, outcome = self.session.run_dir, self.session.outcome
        assert run_dir is not None
        yield f"host: {_host(outcome)}", outcome.not_put_back
        for result in outcome.left:
            yield f"LEFT ON THE HOST {result}", True
        for trace in outcome.traces:
            yield f"LEFT ON THE HOST {trace}", True
        for error in [outcome.undo_error, *outcome.harness_errors]:
            yield from ((line, True) for line in error.splitlines())
        if outcome.kept or outcome.left or outcome.undo_error:
            yield from ((line, False) for line in self.session.cleanup_instructions())
        yield f"record: {run_dir / 'record.jsonl'}", False
        if (run_dir / "evidence").exists():
            yield f"evidence: {run_dir / 'evidence'}", False


def _not_run(reports: Mapping[str, Sequence[Any]]) -> Iterator[str]:
    """What was blocked or not assessed: each reason once, with the number of its tests."""
    for status in (BLOCKED, NOT_ASSESSED):
        why = Counter(report.longrepr[2] for report in reports.get(status, ()))
        for reason, count in why.items():
            said = reason.removeprefix("Skipped: ").removeprefix(f"{NOT_ASSESSED}: ")
            yield f"{status}, {count} test{'' if count == 1 else 's'}: {said}"


def _host(outcome: Outcome) -> str:
    """What became of the host."""
    if outcome.kept:
        return "left as it is (--keep)"
    done = len(outcome.undo) - len(outcome.left)
    undone = f"{done} change{'' if done == 1 else 's'} undone"
    if outcome.left or outcome.undo_error:
        return f"NOT put back: {undone}, {len(outcome.left)} could not be"
    if outcome.traces:
        count = len(outcome.traces)
        things = "1 thing is" if count == 1 else f"{count} things are"
        return f"NOT as it was: {undone}, and {things} otherwise"
    said = f"put back ({undone})" if outcome.undo else "nothing was changed"
    later = f"; {outcome.durable} kept for later runs, --restore removes them"
    return f"{said}{later if outcome.durable else ''}"


def _of_the_stage(report: Any) -> Any:
    """A report that bears the name of the stage that failed, and not of the first test with it."""
    stage = vars(report).get("stage")
    if stage is None:
        return report
    shown = copy.copy(report)
    name = f"stage '{stage}'"
    shown.nodeid = f"{report.nodeid.partition('::')[0]}::{name}"
    shown.location = (*report.location[:2], name)
    return shown
