"""The record of a run: append-only JSON lines, one schema (reports/record.schema.json).

`time` is UTC; `at` and every `seconds` come from a monotonic clock, so that a clock that is set
during a run changes no duration. Texts are cleaned (`harness.text.plain`), and secrets masked
(`harness.record.masking`), wherever they stand. `chain` joins each event to all before it, so that
a later change to any of them can be told.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from contextvars import ContextVar
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Protocol

from harness.record.facts import as_json
from harness.record.masking import Masker
from harness.text import plain

FORMAT = 3  # the record's version, written in its first event
STREAM_TAIL = 16_384  # characters of each stream of a command that the record keeps
NOT_ASSESSED = "not assessed"  # status of a test; also how the reason of such a skip begins
BLOCKED = "blocked"  # a test that was skipped because a stage that it needs failed
GENESIS = "0" * 64  # what the first event is chained to
KINDS = ("run", "stage", "command", "test", "fact", "change", "undo", "progress", "evidence")


STAGE: ContextVar[str] = ContextVar("stage", default="")  # its name; empty outside of stages


@contextlib.contextmanager
def at_stage(name: str) -> Iterator[None]:
    """Within the block, this thread carries out a stage."""
    token = STAGE.set(name)
    try:
        yield
    finally:
        STAGE.reset(token)


class Ended(Protocol):
    """A command that ended, as the record has it (`harness.host.command.Result`)."""

    @property
    def argv(self) -> tuple[str, ...]: ...
    @property
    def line(self) -> str: ...
    @property
    def rc(self) -> int: ...
    @property
    def out(self) -> str: ...
    @property
    def err(self) -> str: ...
    @property
    def seconds(self) -> float: ...
    @property
    def out_bytes(self) -> int: ...
    @property
    def err_bytes(self) -> int: ...


class Trace:
    """Appends events to `path`; with no path it records nothing but still masks.

    A record that cannot be written (a full disk) stops nothing, least of all an undo: the events
    are missing from it, and `trouble` says why.
    """

    def __init__(self, path: Path | None, secrets: Iterable[str] = ()) -> None:
        self.path = path
        self.masker = Masker(secrets)
        self._lock = threading.Lock()
        self._started = time.monotonic()
        self._chain = GENESIS
        self.trouble = ""  # the first thing that went wrong with writing
        self._file: int | None = None
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)

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
                os.close(self._file)
                self._file = None

    @property
    def now(self) -> float:
        """Seconds since the record began, which is what events have for `at`."""
        return time.monotonic() - self._started

    def mask(self, text: str) -> str:
        """`text` with every secret value replaced."""
        return self.masker.text(text)

    def event(self, kind: str, **fields: object) -> None:
        """Append one event; `kind` is one of KINDS. TypeError for a field that is not JSON's."""
        if kind not in KINDS:
            raise ValueError(f"'{kind}' is no kind of event; the kinds are {', '.join(KINDS)}")
        head = {
            "kind": kind,
            "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "at": round(self.now, 3),
        }
        body = {
            key: self.masker.value(as_json(value, f"{kind}.{key}")) for key, value in fields.items()
        }
        with self._lock:
            if self._file is not None:
                chain = chain_digest(self._chain, head | body)
                line = json.dumps(head | body | {"chain": chain}, ensure_ascii=True)
                if self._write(self._file, f"{line}\n".encode()):
                    self._chain = chain

    def keep(self, trouble: str) -> None:
        """Remember the first error of writing."""
        self.trouble = self.trouble or trouble

    def _write(self, file: int, line: bytes) -> bool:
        """Append a line whole, or not at all."""
        size = os.fstat(file).st_size
        left = memoryview(line)
        try:
            while left:
                left = left[os.write(file, left) :]
        except OSError as error:
            self.keep(f"The record '{self.path}' lacks events: {error}")
            with contextlib.suppress(OSError):  # it has been told
                os.ftruncate(file, size)
            return False
        return True

    def command(self, host: str, result: Ended, error: str | None = None) -> None:
        """Append a command that ended, or that never answered (`error` says which)."""
        self.event(
            "command",
            host=host,
            stage=STAGE.get() or None,
            argv=list(result.argv),
            line=result.line,
            rc=result.rc,
            seconds=round(result.seconds, 3),
            # masked before it is cut: a secret at the edge would not be known for one
            out=self._masked(result.out)[-STREAM_TAIL:],
            err=self._masked(result.err)[-STREAM_TAIL:],
            out_bytes=result.out_bytes,
            err_bytes=result.err_bytes,
            error=error,
        )

    def _masked(self, text: str) -> str:
        return self.masker.text(plain(text))


def chain_digest(before: str, event: Mapping[str, object]) -> str:
    """The `chain` of an event that follows one whose chain is `before`: a sha256 in hex.

    Of `before` and of the event as JSON, keys sorted, its own `chain` left out.
    """
    body = {key: value for key, value in event.items() if key != "chain"}
    text = json.dumps(body, sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(f"{before}{text}".encode()).hexdigest()
