"""The one door for commands: bounded capture, deadlines on both sides, three kinds of failure.

Nothing here knows how a host is reached: a transport (`harness.transport`) turns an argv for the
host into an argv for this machine, and `execute` runs that.
"""

from __future__ import annotations

import contextlib
import json as _json
import os
import re
import shlex
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import IO, Any

from harness.errors import LabError

CAPTURE = 1 << 20  # bytes kept of each stream
KILL_AFTER = 5.0  # seconds between TERM and KILL on the far side
GUARD = 20.0  # seconds that this side waits beyond the far side's deadline
DRAIN = 2.0  # seconds that a finished command's pipes may stay open (a daemon may hold them)
LINE_LIMIT = 1 << 16  # bytes after which a line without an end is handed on all the same
MESSAGE_TAIL = 2000  # characters of a stream that an error message shows

OnLine = Callable[[str], None]


@dataclass(frozen=True)
class Result:
    """A command that ended. ``out`` and ``err`` are the last MiB; ``*_bytes`` count all of it.

    Bytes that are no UTF-8 survive as surrogate escapes. ``seconds`` is wall time seen from here.
    """

    argv: tuple[str, ...]
    rc: int
    out: str
    err: str
    seconds: float
    out_bytes: int
    err_bytes: int

    @property
    def line(self) -> str:
        """The command as a line that can be pasted into the host's shell."""
        return shlex.join(self.argv)

    def json(self) -> Any:
        """What the command printed, parsed as JSON; LabError when it is none."""
        try:
            return _json.loads(self.out)
        except ValueError as error:
            raise LabError(
                f"Command '{self.line}' should have printed JSON, but: {error}.{tail(self)}"
            ) from error


class CommandError(LabError):
    """A command that did not give its answer; `result` is there where it ended at all."""

    def __init__(
        self, message: str, *, result: Result | None = None, hint: str | None = None
    ) -> None:
        super().__init__(message, hint=hint)
        self.result = result


class HostUnreachable(CommandError):
    """The host could not be asked; whether the command ran is not known."""


class CommandTimeout(CommandError):
    """The command was still running at its deadline and was killed with its process group."""


class CommandFailed(CommandError):
    """The command ran and ended with a status that its caller does not accept."""


def tail(result: Result) -> str:
    """The end of both streams, for an error message; empty when the command said nothing."""
    parts = []
    for name, text, size in (
        ("stderr", result.err, result.err_bytes),
        ("stdout", result.out, result.out_bytes),
    ):
        if text.strip():
            cut = f" (the end of {size} bytes)" if size > MESSAGE_TAIL else ""
            shown = text.rstrip()[-MESSAGE_TAIL:]
            parts.append(f"\n{name}{cut}:\n{shown}")
    return "".join(parts)


class _Stream:
    """Reads a pipe to its end in a thread, keeping the last bytes and handing on whole lines."""

    def __init__(self, pipe: IO[bytes], on_line: OnLine | None) -> None:
        self.total = 0
        self.error: BaseException | None = None
        self._kept = bytearray()
        self._line = bytearray()
        self._on_line = on_line
        self._pipe = pipe
        self.thread = threading.Thread(target=self._read, daemon=True)
        self.thread.start()

    def _read(self) -> None:
        with contextlib.suppress(OSError, ValueError):  # the pipe is closed under us on a kill
            while chunk := os.read(self._pipe.fileno(), 1 << 16):
                self.total += len(chunk)
                self._kept += chunk
                if len(self._kept) > 2 * CAPTURE:
                    del self._kept[:-CAPTURE]
                self._lines(chunk)
        self._emit(bytes(self._line))

    def _lines(self, chunk: bytes) -> None:
        if self._on_line is None:
            return
        self._line += chunk
        *whole, rest = re.split(rb"[\r\n]", self._line)
        for line in whole:
            self._emit(line)
        if len(rest) > LINE_LIMIT:
            self._emit(rest)
            rest = b""
        self._line = bytearray(rest)

    def _emit(self, line: bytes) -> None:
        if self._on_line is None or not line or self.error is not None:
            return
        try:
            self._on_line(decode(line))
        except Exception as error:  # an observer must not stop the pipe from being drained
            self.error = error

    def text(self) -> str:
        return decode(bytes(self._kept[-CAPTURE:]))


def decode(data: bytes) -> str:
    """Bytes of a stream as text that can be turned back into the very same bytes."""
    return data.decode("utf-8", "surrogateescape")


def encode(data: str | bytes) -> bytes:
    """The reverse of `decode`."""
    return data if isinstance(data, bytes) else data.encode("utf-8", "surrogateescape")


def deadline_argv(argv: Sequence[str], timeout: float) -> list[str]:
    """`argv` under coreutils' timeout, which kills the process group at the deadline.

    Not with --verbose: where the connection is gone, it would die of its own message (SIGPIPE)
    before it sends the signal.
    """
    return ["timeout", "-k", f"{KILL_AFTER:g}", f"{timeout:.3f}", *argv]


def hit_deadline(result: Result, timeout: float) -> bool:
    """Whether timeout(1) ended the command, and not the command itself with the same status.

    Time tells: the host's clock may run a little slower than ours, an emulated machine's even
    more, hence nine tenths.
    """
    if result.rc == 137:
        return result.seconds >= 0.9 * (timeout + KILL_AFTER)
    return result.rc == 124 and result.seconds >= 0.9 * timeout


def _feed(pipe: IO[bytes], data: bytes) -> None:
    with contextlib.suppress(OSError, ValueError):  # the command need not read its input
        pipe.write(data)
    with contextlib.suppress(OSError, ValueError):
        pipe.close()


def kill_group(process: subprocess.Popen[bytes]) -> None:
    """End a process that was started in its own session, with what it started there."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def execute(
    argv: Sequence[str],
    *,
    guard: float | None,
    input: bytes | None = None,
    on_line: OnLine | None = None,
    shown: Sequence[str] | None = None,
    environ: Mapping[str, str] | None = None,
) -> Result:
    """Run a command of this machine; `shown` is the argv that the result and messages name.

    `guard` (seconds) is the last line of defence: the deadline proper is the far side's.
    Raises CommandTimeout when the guard struck; any exit status is a Result.
    """
    started = time.monotonic()
    process = subprocess.Popen(
        list(argv),
        stdin=subprocess.DEVNULL if input is None else subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,  # a Ctrl-C in the terminal is for us to handle, not for ssh
        env=environ if environ is None else dict(environ),
    )
    assert process.stdout is not None
    assert process.stderr is not None
    streams = (_Stream(process.stdout, on_line), _Stream(process.stderr, on_line))
    expired = False
    try:
        if input is not None:
            assert process.stdin is not None
            threading.Thread(target=_feed, args=(process.stdin, input), daemon=True).start()
        try:
            process.wait(guard)
        except subprocess.TimeoutExpired:
            expired = True
        else:
            limit = time.monotonic() + DRAIN
            for stream in streams:
                stream.thread.join(max(0.0, limit - time.monotonic()))
    finally:
        kill_group(process)
        for pipe, stream in zip((process.stdout, process.stderr), streams, strict=True):
            if not stream.thread.is_alive() or expired:
                stream.thread.join(DRAIN)
            if not stream.thread.is_alive():
                pipe.close()
    rc = process.returncode
    result = Result(
        argv=tuple(shown if shown is not None else argv),
        rc=rc if rc >= 0 else 128 - rc,
        out=streams[0].text(),
        err=streams[1].text(),
        seconds=time.monotonic() - started,
        out_bytes=streams[0].total,
        err_bytes=streams[1].total,
    )
    if expired:
        raise CommandTimeout(
            f"Command '{result.line}' gave no answer within {guard:.0f} s.{tail(result)}",
            result=result,
        )
    for stream in streams:
        if stream.error is not None:
            raise stream.error
    return result
