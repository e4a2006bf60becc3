"""Text for a terminal, measured in columns."""

from __future__ import annotations

import re
from collections.abc import Iterator

from rich.cells import cell_len, chop_cells

from harness.text import readable


def cut(text: str, width: int) -> str:
    """The beginning of a text, at most `width` columns wide."""
    return next(iter(chop_cells(_line(text), width)), "")


def wrapped(text: str, width: int, indent: str) -> Iterator[str]:
    """A text in lines of at most `width` columns; all but the first begin with `indent`.

    A word that is wider than a line, as all of a Chinese sentence is, is broken where it must be.
    """
    line = ""
    for word in re.findall(r"\s*\S+", _line(text)):
        if cell_len(line + word) <= width:
            line += word
            continue
        if line.strip():
            yield line
        line = indent + word.lstrip()
        while cell_len(line) > width:
            head = chop_cells(line, width)[0]
            yield head
            line = indent + line[len(head) :]
    if line.strip():
        yield line


def _line(text: str) -> str:
    return readable(text).expandtabs(1).replace("\n", " ")
