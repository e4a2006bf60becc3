"""The outcome of a run, from which its exit status follows; and tests that are not assessed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NoReturn

import pytest

from harness import exits
from harness.host.command import HostUnreachable
from harness.record.trace import NOT_ASSESSED
from harness.run.stage import StageFailed
from harness.undo.undo import UndoResult


def not_assessed(reason: str) -> NoReturn:
    """End a test that cannot be carried out on this target, with the reason.

    It is no pass, and the record and the reports tell it from a skip for a stage that failed.
    """
    __tracebackhide__ = True
    pytest.skip(f"{NOT_ASSESSED}: {reason}")


@dataclass
class Outcome:
    """Everything that decides the exit status of a run; filled during the run."""

    pytest_status: int = exits.PASSED  # how pytest alone would end
    unreachable: bool | None = None  # whether that is the first failure; None: no failure yet
    refused: bool = False  # by the host, before anything was touched
    undo: list[UndoResult] = field(default_factory=list)
    undo_error: str = ""  # why the host may not be as it was before
    traces: list[str] = field(default_factory=list)  # what is otherwise there, though all is undone
    kept: bool = False  # the host was left as it is, because the user asked for that
    durable: int = 0  # changes of this run and of earlier ones that are kept for later runs
    harness_errors: list[str] = field(default_factory=list)
    regression: bool = False  # a time or a rate left its band
    tolerated: bool = False  # what failed had failed before, and that is not to fail the run

    @property
    def failed(self) -> bool:
        """Whether pytest alone would not end with 0."""
        return self.pytest_status != exits.PASSED

    @property
    def interrupted(self) -> bool:
        """Whether a signal, or Ctrl-C, has ended the tests."""
        return self.pytest_status == exits.INTERRUPTED

    @property
    def left(self) -> list[UndoResult]:
        """The changes that could not be taken back."""
        return [result for result in self.undo if not result.ok]

    @property
    def not_put_back(self) -> bool:
        """Whether the host is not as it was, or may not be."""
        return bool(self.undo_error or self.left or self.traces)

    def note_first_failure(self, error: BaseException | None) -> None:
        """Remember whether the first failure is that the host could not be reached."""
        cause = error.cause if isinstance(error, StageFailed) else error
        if self.unreachable is None:
            self.unreachable = isinstance(cause, HostUnreachable)

    def note_harness_error(self, text: str) -> None:
        """Add an error of the harness itself, once; an empty text is none."""
        if text and text not in self.harness_errors:
            self.harness_errors.append(text)

    @property
    def exit_status(self) -> int:
        """The most urgent status that applies; REGRESSION only in a run that passed otherwise."""
        ours = {
            exits.UNREACHABLE: self.unreachable,
            exits.RESIDUE: self.not_put_back,
            exits.HARNESS_ERROR: self.harness_errors,
            exits.REFUSED: self.refused,
        }
        held = [status for status, holds in ours.items() if holds]
        own = self.pytest_status
        if self.tolerated and own == exits.FAILED:
            own = exits.PASSED
        found = exits.worst([own, *held])
        return exits.REGRESSION if self.regression and found == exits.PASSED else found
