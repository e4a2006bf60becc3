"""Text for a terminal, measured in columns, with control sequences stripped."""

from __future__ import annotations

import re
from collections.abc import Iterator

from rich.cells import cell_len, chop_cells

# Escape sequences (ECMA-48: CSI, OSC, and the short ones), then any other control character.
_CONTROL = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)?|\x1b[ -/]*[0-~]?"
    r"|[\x00-\x1f\x7f-\x9f]"
)


def plain(text: str) -> str:
    """A line of a host's output as a terminal may show it."""
    return _CONTROL.sub("", text.expandtabs(1))


def cut(text: str, width: int) -> str:
    """The beginning of a text, at most `width` columns wide."""
    return next(iter(chop_cells(plain(text), width)), "")


def wrapped(text: str, width: int, indent: str) -> Iterator[str]:
    """A text in lines of at most `width` columns; all but the first begin with `indent`.

    A word that is wider than a line, as all of a Chinese sentence is, is broken where it must be.
    """
    line = ""
    for word in re.findall(r"\s*\S+", plain(text)):
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
