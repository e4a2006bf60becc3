"""Run a process on this machine to its end: bounded capture, lines as they come, hard timeout."""

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
POLL = 0.1  # seconds between two checks whether a command that keeps its pipes open has ended


class _Stream:
    """One of a command's pipes."""

    def __init__(self, pipe: IO[bytes], on_line: OnLine | None) -> None:
        self.pipe = pipe
        self.open = True
        self.capture = Capture(on_line)

    def pump(self) -> None:
        """Read what is there; closes itself at the end of the stream."""
        chunk = os.read(self.pipe.fileno(), 1 << 16)
        if chunk:
            self.capture.feed(chunk)
        else:
            self.pipe.close()
            self._end()

    def _end(self) -> None:
        self.open = False
        self.capture.end()

    def detach(self) -> None:
        """Leave the pipe to a thread: a daemon that still has it must neither block nor die."""
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

    def pump(self) -> None:
        """Write as much as fits."""
        try:
            if self._left:
                self._left = self._left[os.write(self.pipe.fileno(), self._left[: 1 << 16]) :]
        except BlockingIOError:
            return
        except OSError:  # nobody reads any more
            self._left = self._left[:0]
        if not self._left:
            self.detach()

    def detach(self) -> None:
        """Write no more."""
        if self.open:
            self.open = False
            with contextlib.suppress(OSError):
                self.pipe.close()


def kill_group(process: subprocess.Popen[bytes]) -> None:
    """End a process that was started in its own session, with what it started there."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _pump(
    process: subprocess.Popen[bytes], ends: Sequence[_Stream | _Feed], deadline: float
) -> bool:
    """Serve the pipes until the command has ended and closed them; False at the deadline.

    Popen.wait and Popen.communicate poll in growing intervals, up to 50 ms late; the end of the
    pipes tells at once. Polling is left only for a daemon that keeps them open.
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
            for key, _ in selector.select(min(POLL, limit - now)):
                key.data.pump()
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
    hard_timeout: float,
    input: bytes | IO[bytes] | None = None,
    on_line: OnLine | None = None,
    display_argv: Sequence[str] | None = None,
) -> Result:
    """Run a command on this machine; the result and messages name it as `display_argv`.

    `hard_timeout` (seconds) is the last line of defence: the deadline proper is kept on the host.
    `input` may be an open file, which the command then reads itself. `on_line` is called in this
    thread. Any exit status is a Result. Raises CommandTimeout at the hard timeout.
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
        ended = _pump(process, ends, started + hard_timeout)
    finally:
        # Not after a good end: a daemon that is just being started has not left the group yet.
        if not ended:
            kill_group(process)
    if not ended:
        _pump(process, ends, time.monotonic() + DRAIN)
    for end in ends:
        end.detach()
    return _finished(
        process,
        streams,
        started,
        display_argv if display_argv is not None else argv,
        ended,
        hard_timeout,
    )


def _finished(
    process: subprocess.Popen[bytes],
    streams: tuple[_Stream, _Stream],
    started: float,
    display_argv: Sequence[str],
    ended: bool,
    hard_timeout: float,
) -> Result:
    out, err = (stream.capture for stream in streams)
    rc = process.returncode
    result = Result(
        argv=tuple(display_argv),
        rc=rc if rc >= 0 else 128 - rc,
        out=out.text(),
        err=err.text(),
        seconds=time.monotonic() - started,
        out_bytes=out.total,
        err_bytes=err.total,
    )
    if not ended:
        raise CommandTimeout(
            f"Command '{result.brief}' gave no answer within {hard_timeout:.0f} s.{tail(result)}",
            result=result,
        )
    for capture in (out, err):
        if capture.error is not None:
            raise capture.error
    return result
