"""What a command or a job prints, taken in within bounds: its end, and its lines as they come."""

from __future__ import annotations

import re

from harness.command import CAPTURE, OnLine, decode

LINE_LIMIT = 1 << 16  # bytes after which a line without an end is handed on all the same


class Capture:
    """The last bytes of a stream, and how many there were; whole lines go to `on_line`.

    What `on_line` raises is kept as `error`, and it is not called again: an observer must not stop
    a pipe from being drained.
    """

    def __init__(self, on_line: OnLine | None) -> None:
        self.total = 0
        self.error: Exception | None = None
        self._kept = bytearray()
        self._line = b""
        self._on_line = on_line

    def feed(self, chunk: bytes) -> None:
        """Take in what has come."""
        self.total += len(chunk)
        self._kept += chunk
        if len(self._kept) > 2 * CAPTURE:
            del self._kept[:-CAPTURE]
        if self._on_line is None:
            return
        *whole, rest = re.split(rb"[\r\n]", self._line + chunk)
        for line in whole:
            self._emit(line)
        if len(rest) > LINE_LIMIT:
            self._emit(rest)
            rest = b""
        self._line = rest

    def end(self) -> None:
        """Nothing more comes: what is left is a line, too."""
        rest, self._line = self._line, b""
        self._emit(rest)

    def text(self) -> str:
        """The end of it, at most `CAPTURE` bytes."""
        return decode(bytes(self._kept[-CAPTURE:]))

    def _emit(self, line: bytes) -> None:
        if self._on_line is None or not line or self.error is not None:
            return
        try:
            self._on_line(decode(line))
        except Exception as error:
            self.error = error
