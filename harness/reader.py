"""Who reads standard output may have seen enough: ``python -m harness plan | head``."""

from __future__ import annotations

import contextlib
import os
import select
import sys
from collections.abc import Iterator

GONE = 141  # 128 + SIGPIPE: what a shell says of a program that ended so


@contextlib.contextmanager
def may_leave() -> Iterator[None]:
    """Within the block, and for what is printed in it, nobody may read on; then SystemExit(GONE).

    The BrokenPipeError of another pipe, a connection's say, is raised as it is.
    """
    try:
        try:
            yield
        finally:  # Python's own flush, at its end, would say much
            sys.stdout.flush()
    except BrokenPipeError:
        asked = select.poll()
        asked.register(sys.stdout, 0)  # of an end that nobody reads poll tells unasked
        if not asked.poll(0):
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(GONE)
