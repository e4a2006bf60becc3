"""A process of this machine run to its end: capture within bounds, lines as they come, a guard."""

from __future__ import annotations

import contextlib
import os
import select
import selectors
import signal
import subprocess
import threading
import time
from collections.abc import Sequence
from typing import IO

from harness.host.command import Capture, CommandTimeout, OnLine, Result, tail

DRAIN = 2.0  # seconds that a finished command's pipes may stay open (a daemon may hold them)
LOOK = 0.1  # seconds between two looks at whether a command has ended that keeps its pipes open


class _Stream:
    """One of a command's pipes."""

    def __init__(self, pipe: IO[bytes], on_line: OnLine | None) -> None:
        self.pipe = pipe
        self.open = True
        self.capture = Capture(on_line)

    def move(self) -> None:
        """Take what is there, without waiting where there is something; ends at the end."""
        chunk = os.read(self.pipe.fileno(), 1 << 16)
        if chunk:
            self.capture.feed(chunk)
        else:
            self.pipe.close()
            self._end()

    def _end(self) -> None:
        self.open = False
        self.capture.end()

    def let_go(self) -> None:
        """A daemon that still holds the pipe must neither block nor die of writing to it."""
        if self.open:
            self._end()
            threading.Thread(target=_drain, args=(self.pipe,), daemon=True).start()


def _drain(pipe: IO[bytes]) -> None:
    with pipe:
        while os.read(pipe.fileno(), 1 << 16):
            pass


class _Feed:
    """The pipe to a command's input; the command need not read it."""

    def __init__(self, pipe: IO[bytes], data: bytes) -> None:
        self.pipe = pipe
        self.open = True
        self._left = memoryview(data)
        os.set_blocking(pipe.fileno(), False)

    def move(self) -> None:
        """Give as much as fits."""
        try:
            if self._left:
                self._left = self._left[os.write(self.pipe.fileno(), self._left[: 1 << 16]) :]
        except BlockingIOError:
            return
        except OSError:  # nobody reads any more
            self._left = self._left[:0]
        if not self._left:
            self.let_go()

    def let_go(self) -> None:
        """No more is given."""
        if self.open:
            self.open = False
            with contextlib.suppress(OSError):
                self.pipe.close()


def kill_group(process: subprocess.Popen[bytes]) -> None:
    """End a process that was started in its own session, with what it started there."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _move(
    process: subprocess.Popen[bytes], ends: Sequence[_Stream | _Feed], deadline: float
) -> bool:
    """Serve the pipes until the command has ended and closed them; False at the deadline.

    Popen.wait and Popen.communicate look in growing intervals, up to 50 ms late: the pipes' end
    tells at once. What is there to be looked at is only a daemon that keeps them open.
    """
    ended: float | None = None
    with selectors.PollSelector() as selector:
        for end in ends:
            if end.open:
                event = selectors.EVENT_WRITE if isinstance(end, _Feed) else selectors.EVENT_READ
                selector.register(end.pipe.fileno(), event, end)
        while selector.get_map():
            now = time.monotonic()
            if ended is None and process.poll() is not None:
                ended = now
            limit = deadline if ended is None else ended + DRAIN
            if now >= limit:
                return ended is not None
            for key, _ in selector.select(min(LOOK, limit - now)):
                key.data.move()
                if not key.data.open:
                    selector.unregister(key.fd)
    return _ended(process, deadline)


def _ended(process: subprocess.Popen[bytes], deadline: float) -> bool:
    """Wait for the end of a command that has closed its pipes; False at the deadline.

    Popen.wait with a timeout looks in growing intervals; a pidfd tells at once.
    """
    if process.poll() is None:
        descriptor = os.pidfd_open(process.pid)
        try:
            poll = select.poll()
            poll.register(descriptor, select.POLLIN)
            if not poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
                return False
        finally:
            os.close(descriptor)
        process.wait()
    return True


def _start(argv: Sequence[str], input: bytes | IO[bytes] | None) -> subprocess.Popen[bytes]:
    given = subprocess.DEVNULL if input is None else input
    return subprocess.Popen(
        list(argv),
        stdin=subprocess.PIPE if isinstance(given, bytes) else given,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,  # a Ctrl-C in the terminal is for us to handle, not for ssh
    )


def execute(
    argv: Sequence[str],
    *,
    guard: float,
    input: bytes | IO[bytes] | None = None,
    on_line: OnLine | None = None,
    shown: Sequence[str] | None = None,
) -> Result:
    """Run a command of this machine; `shown` is the argv that the result and messages name.

    `guard` (seconds) is the last line of defence: the deadline proper is the far side's. `input`
    may be an open file, which the command then reads itself. `on_line` is called in this thread.
    Raises CommandTimeout when the guard struck; any exit status is a Result.
    """
    started = time.monotonic()
    process = _start(argv, input)
    assert process.stdout is not None
    assert process.stderr is not None
    streams = (_Stream(process.stdout, on_line), _Stream(process.stderr, on_line))
    ends: list[_Stream | _Feed] = [*streams]
    if process.stdin is not None:
        assert isinstance(input, bytes)
        ends.append(_Feed(process.stdin, input))
    ended = False
    try:
        ended = _move(process, ends, started + guard)
    finally:
        # Not after a good end: a daemon that is just being started has not left the group yet.
        if not ended:
            kill_group(process)
    if not ended:
        _move(process, ends, time.monotonic() + DRAIN)
    for end in ends:
        end.let_go()
    return _finished(process, streams, started, shown if shown is not None else argv, ended, guard)


def _finished(
    process: subprocess.Popen[bytes],
    streams: tuple[_Stream, _Stream],
    started: float,
    shown: Sequence[str],
    ended: bool,
    guard: float,
) -> Result:
    out, err = (stream.capture for stream in streams)
    rc = process.returncode
    result = Result(
        argv=tuple(shown),
        rc=rc if rc >= 0 else 128 - rc,
        out=out.text(),
        err=err.text(),
        seconds=time.monotonic() - started,
        out_bytes=out.total,
        err_bytes=err.total,
    )
    if not ended:
        raise CommandTimeout(
            f"Command '{result.line}' gave no answer within {guard:.0f} s.{tail(result)}",
            result=result,
        )
    for capture in (out, err):
        if capture.error is not None:
            raise capture.error
    return result
