"""How what a thread does is ended from outside."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_CANCELLATION: ContextVar[Cancellation | None] = ContextVar("cancellation", default=None)


class Cancelled(BaseException):
    """The run ends, and this background stage with it. As KeyboardInterrupt: no error to handle."""


class Cancellation:
    """Ends from outside what a thread does: it looks here before and during every command.

    What it is asked with is raised once, so that the thread can clean up behind itself by further
    commands. After `insist` there are none.
    """

    def __init__(self) -> None:
        self._why: BaseException | None = None
        self._final = False
        self._asked = threading.Event()

    def ask(self, why: BaseException) -> None:
        """Raise `why` in the thread, in the command that it is at or in its next one."""
        self._why = why
        self._asked.set()

    def insist(self) -> None:
        """End the command that the thread is at, and let it run no other."""
        self._final = True
        self._asked.set()

    def pause(self, seconds: float) -> None:
        """Wait, unless the thread is to be ended: then raise what it is to be ended with."""
        self._asked.wait(seconds)
        self.check()

    def check(self) -> None:
        """Raise what the thread is to be ended with, if it is."""
        if self._final:
            raise Cancelled("The run has ended.")
        self._asked.clear()
        why, self._why = self._why, None
        if why is not None:
            raise why

    @contextmanager
    def heeded(self) -> Iterator[None]:
        """Within the block, `check` looks at this one."""
        token = _CANCELLATION.set(self)
        try:
            yield
        finally:
            _CANCELLATION.reset(token)


def check() -> None:
    """Raise what this thread is to be ended with, if it is."""
    cancellation = _CANCELLATION.get()
    if cancellation is not None:
        cancellation.check()


def pause(seconds: float) -> None:
    """Wait for `seconds`, or raise what this thread is to be ended with as soon as it is."""
    cancellation = _CANCELLATION.get()
    if cancellation is None:
        time.sleep(seconds)
    else:
        cancellation.pause(seconds)


@contextmanager
def unchecked() -> Iterator[None]:
    """Within the block, this thread cannot be ended: for what has to be brief and whole."""
    token = _CANCELLATION.set(None)
    try:
        yield
    finally:
        _CANCELLATION.reset(token)
