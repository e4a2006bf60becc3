"""Signals while something has to be finished."""

from __future__ import annotations

import signal
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def undisturbed(say: Callable[[str], None]) -> Iterator[None]:
    """Within the block a (further) Ctrl-C or SIGTERM is answered, and ends nothing."""

    def patience(signum: int, frame: types.FrameType | None) -> None:
        say("[undo] still putting the host back; after kill -9: pytest --recover")

    before = {s: signal.signal(s, patience) for s in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)
