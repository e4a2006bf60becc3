"""The commands that run on a host now: a time limit that is reached names them."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator

from harness.record.trace import STAGE


class ActiveCommands:
    """The commands that the threads of this process wait for."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._by_thread: dict[int, tuple[str, str, float]] = {}  # stage, command, started at

    @contextlib.contextmanager
    def running(self, command: str) -> Iterator[None]:
        """Within the block this thread runs `command`; a command within that one is part of it."""
        thread = threading.get_ident()
        if thread in self._by_thread:
            yield
            return
        self._by_thread[thread] = (STAGE.get(), command, self._clock())
        try:
            yield
        finally:
            del self._by_thread[thread]

    def lines(self) -> list[str]:
        """One line per thread with a command, the longest running first."""
        now = self._clock()
        commands = sorted(self._by_thread.copy().values(), key=lambda entry: entry[2])
        return [
            f"{f'[{stage}] ' if stage else ''}{command} (for {now - since:.0f} s)"
            for stage, command, since in commands
        ]
