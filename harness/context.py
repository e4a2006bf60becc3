"""What a thread is at: the stage that it carries out, and how it is ended from outside."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

STAGE: ContextVar[str] = ContextVar("stage", default="")  # its name; empty outside of stages
_ENDING: ContextVar[Ending | None] = ContextVar("ending", default=None)


class Cancelled(BaseException):
    """The run ends, and this background stage with it. As KeyboardInterrupt: no error to handle."""


class Ending:
    """Ends from outside what a thread does: it looks here before and during every command.

    What it is asked with is raised once, so that the thread can clean up behind itself by further
    commands. After `insist` there are none.
    """

    def __init__(self) -> None:
        self._why: BaseException | None = None
        self._final = False

    def ask(self, why: BaseException) -> None:
        """Raise `why` in the thread, in the command that it is at or in its next one."""
        self._why = why

    def insist(self) -> None:
        """End the command that the thread is at, and let it run no other."""
        self._final = True

    def check(self) -> None:
        if self._final:
            raise Cancelled("The run has ended.")
        why, self._why = self._why, None
        if why is not None:
            raise why

    @contextmanager
    def heeded(self) -> Iterator[None]:
        """Within the block, `check` looks at this one."""
        token = _ENDING.set(self)
        try:
            yield
        finally:
            _ENDING.reset(token)


def check() -> None:
    """Raise what this thread is to be ended with, if it is."""
    ending = _ENDING.get()
    if ending is not None:
        ending.check()


@contextmanager
def unchecked() -> Iterator[None]:
    """Within the block, this thread cannot be ended: for what has to be brief and whole."""
    token = _ENDING.set(None)
    try:
        yield
    finally:
        _ENDING.reset(token)


@contextmanager
def at_stage(name: str) -> Iterator[None]:
    """Within the block, this thread carries out a stage."""
    token = STAGE.set(name)
    try:
        yield
    finally:
        STAGE.reset(token)
