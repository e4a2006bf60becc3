"""What runs on a host right now: what a time limit has to name when it ends it."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator

from harness.record.trace import STAGE


class Doing:
    """The commands that the threads of this process wait for."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._now: dict[int, tuple[str, str, float]] = {}  # thread -> stage, what, since when

    @contextlib.contextmanager
    def at(self, what: str) -> Iterator[None]:
        """This thread does that for the length of the block; what it does within is part of it."""
        thread = threading.get_ident()
        if thread in self._now:
            yield
            return
        self._now[thread] = (STAGE.get(), what, self._clock())
        try:
            yield
        finally:
            del self._now[thread]

    def told(self) -> list[str]:
        """A line for each thread that does something, what has taken longest first."""
        now = self._clock()
        found = sorted(self._now.copy().values(), key=lambda doing: doing[2])
        return [
            f"{f'[{stage}] ' if stage else ''}{what} (for {now - since:.0f} s)"
            for stage, what, since in found
        ]
