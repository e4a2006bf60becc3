"""The record of a run: append-only JSON lines, one schema (reports/record.schema.json).

`time` is UTC; `at` and every `seconds` come from a monotonic clock, so that a clock that is set
during a run changes no duration. Secrets are masked by value, wherever they stand.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from harness.command import Result

FORMAT = 1  # the record's version, written in its first event
STREAM_TAIL = 16_384  # characters of each stream of a command that the record keeps
MASK = "***"
KINDS = ("run", "stage", "command", "test", "fact", "undo", "progress")


class Trace:
    """Appends events to `path`; with no path it records nothing but still masks."""

    def __init__(self, path: Path | None, secrets: Iterable[str] = ()) -> None:
        self.path = path
        # The longest first, so that a secret that contains another leaves nothing behind.
        self._secrets = sorted({s for s in secrets if s}, key=len, reverse=True)
        self._lock = threading.Lock()
        self._started = time.monotonic()
        self._file: TextIO | None = None
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("a", encoding="utf-8")

    def __enter__(self) -> Trace:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; later events are dropped."""
        with self._lock:
            if self._file is not None:
                self._file.close()
                self._file = None

    def mask(self, text: str) -> str:
        """`text` with every secret value replaced."""
        for secret in self._secrets:
            text = text.replace(secret, MASK)
        return text

    def masked(self, value: object) -> object:
        """`value` as JSON can hold it, with every secret in it replaced."""
        if isinstance(value, str):
            return self.mask(value)
        if isinstance(value, Mapping):
            return {self.mask(str(key)): self.masked(item) for key, item in value.items()}
        if isinstance(value, list | tuple | set | frozenset):
            return [self.masked(item) for item in value]
        if value is None or isinstance(value, bool | int | float):
            # A secret may look like a number (a PIN): it is one all the same.
            text = str(value)
            return MASK if text in self._secrets else value
        return self.mask(str(value))

    def event(self, kind: str, **fields: object) -> None:
        """Append one event; `kind` is one of KINDS."""
        if kind not in KINDS:
            raise ValueError(f"'{kind}' is no kind of event; the kinds are {', '.join(KINDS)}")
        head = {
            "kind": kind,
            "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "at": round(time.monotonic() - self._started, 3),
        }
        body = {key: self.masked(value) for key, value in fields.items()}
        line = json.dumps(head | body, ensure_ascii=True)  # lone surrogates need the escapes
        with self._lock:
            if self._file is not None:
                self._file.write(line + "\n")
                self._file.flush()

    def command(self, host: str, result: Result, error: str | None = None) -> None:
        """Append a command that ended, or that never answered (`error` says which)."""
        self.event(
            "command",
            host=host,
            argv=list(result.argv),
            line=result.line,
            rc=result.rc,
            seconds=round(result.seconds, 3),
            out=result.out[-STREAM_TAIL:],
            err=result.err[-STREAM_TAIL:],
            out_bytes=result.out_bytes,
            err_bytes=result.err_bytes,
            error=error,
        )
