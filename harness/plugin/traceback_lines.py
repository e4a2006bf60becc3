"""Tracebacks that pytest can show: each frame in them has a line.

What a signal's handler raises may come out of an instruction that belongs to no line of the source,
as Python 3.11 and later have them at the end of a block. There `tb_lineno` is None (see the types
module's TracebackType), and pytest's own report of it fails with a TypeError, which ends the run
with a traceback of pytest's in the place of what has happened.
"""

from __future__ import annotations

from types import TracebackType


def give_lines(error: BaseException | None) -> None:
    """Give each frame without a line, in the traceback of an error and its causes, its first one.

    The frame that has caught the error stays as it is: it made a call, and that has a line.
    """
    seen: set[int] = set()
    left = [error]
    while left:
        found = left.pop()
        if found is None or id(found) in seen:
            continue
        seen.add(id(found))
        left += [found.__cause__, found.__context__]
        entry = found.__traceback__
        while entry is not None:
            later = _lined(entry.tb_next)
            entry.tb_next = later
            entry = later


def _lined(entry: TracebackType | None) -> TracebackType | None:
    # typeshed says int; an instruction without a line has None
    number: int | None = None if entry is None else entry.tb_lineno
    if entry is None or number is not None:
        return entry
    frame = entry.tb_frame
    return TracebackType(entry.tb_next, frame, entry.tb_lasti, frame.f_code.co_firstlineno)
