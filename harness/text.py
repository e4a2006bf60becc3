"""Text of others: what hosts, guests, models and files say is data, wherever it is shown.

A record keeps it by `plain`; a terminal, a page or a picture shows it by `readable`; a message
shows the `head` or the `end` of it.
"""

from __future__ import annotations

import re

CUT = "…"  # masking looks for the part of a secret beside one (`harness.record.masking`)
ODD = "\N{REPLACEMENT CHARACTER}"

# Control sequences (ECMA-48), each with its C1 form: CSI; strings to their end (OSC, DCS, SOS, PM,
# APC); the short ones; the bell. A string without an end hides nothing: its words stay. What begins
# one goes in any case, so that none is left when another is taken out of its middle.
_SEQUENCE = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]"
    r"|(?:\x1b[\]PX^_]|[\x90\x98\x9d-\x9f])[^\x07\x1b\x90\x98\x9c-\x9f\n]*(?:\x07|\x1b\\|\x9c)"
    r"|\x1b[ -/]*[0-~]?|[\x07\x90\x98\x9b\x9d-\x9f]"
)
# All other control characters but tab and newline; those that turn the direction of what follows
# (UAX #9), by which a line can read as another one; and what XML 1.0 cannot hold.
_CONTROL = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ufffe\uffff]"
)


def plain(text: str) -> str:
    """Without control sequences, and in characters that every encoding of Unicode has.

    A lone surrogate, as a byte that was no UTF-8 is one, is shown as \\udcNN. All else stays as it
    came: NULs may separate fields.
    """
    return _SEQUENCE.sub("", text.encode("utf-8", "backslashreplace").decode())


def readable(text: str) -> str:
    """As a person may see it: `plain`, its lines ended by newlines alone, controls replaced."""
    if text.isascii() and text.isprintable():  # most of a record is; it is that much quicker
        return text
    return _CONTROL.sub(ODD, plain(text).replace("\r\n", "\n").replace("\r", "\n"))


def head(text: str, size: int) -> str:
    """The first `size` characters, with a mark where there are more."""
    return text if len(text) <= size else text[:size] + CUT


def end(text: str, size: int) -> str:
    """The last `size` characters, with a mark where there are more."""
    return text if len(text) <= size else CUT + text[len(text) - size :]


def whole(data: bytes) -> bytes:
    """The end of a text in UTF-8 that was cut anywhere, from its first whole character on."""
    return re.sub(rb"\A[\x80-\xbf]{1,3}", b"", data)


def end_of(data: bytes, *, cut: bool) -> bytes:
    """A text in UTF-8; where it was `cut` at its beginning, `whole` and with a mark."""
    return CUT.encode() + whole(data) if cut else data
