"""Relays a process's streams over its connection until it ends."""

import contextlib
import os
import select
import signal
import time

from ..wire import CHUNK, Channel, Frame, Kind, unpack_size
from . import process

_STDIN_LIMIT = 1 << 20  # bytes kept for a process that does not read; then the host has to wait
_LAST_WORDS = 5.0  # seconds to deliver what was written before the end


class Streams:
    """The session's ends of a process's standard streams: three pipes, or one terminal."""

    def __init__(self, stdin: int | None, outputs: dict[int, Kind], terminal: int | None) -> None:
        self.stdin = stdin
        self.outputs = outputs
        self.terminal = terminal
        self._waiting = bytearray()
        self._close_after = False
        if stdin is not None:
            os.set_blocking(stdin, False)

    def handle(self, frame: Frame, pid: int) -> None:
        """Act on one frame from the host."""
        if frame.kind is Kind.STDIN:
            self._waiting += frame.payload
        elif frame.kind is Kind.CLOSE_STDIN:
            self._close_after = True
        elif frame.kind is Kind.SIGNAL:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, int(frame.payload))
        elif frame.kind is Kind.RESIZE and self.terminal is not None:
            process.set_size(self.terminal, *unpack_size(frame.payload))
        self.feed()

    def feed(self) -> None:
        """Give the process what it takes of its input."""
        while self.stdin is not None and self._waiting:
            try:
                sent = os.write(self.stdin, self._waiting[:CHUNK])
            except BlockingIOError:
                return
            except OSError:
                self._waiting.clear()  # it reads no more
                self._close_after = True
                break
            del self._waiting[:sent]
        if self._close_after and self.stdin is not None:
            if self.stdin != self.terminal:
                os.close(self.stdin)
            self.stdin = None

    @property
    def full(self) -> bool:
        """Whether the host should not be read from for now."""
        return len(self._waiting) > _STDIN_LIMIT

    @property
    def hungry(self) -> bool:
        """Whether there is input that waits for the process to read."""
        return bool(self._waiting) and self.stdin is not None

    def forward(self, source: int, channel: Channel) -> None:
        """Send what one output has; at its end it is closed."""
        try:
            data = os.read(source, CHUNK)
        except BlockingIOError:
            return
        except OSError:  # a terminal whose last user is gone
            data = b""
        if data:
            channel.send(self.outputs[source], data)
            return
        del self.outputs[source]
        if self.terminal is None:
            os.close(source)


def relay(channel: Channel, streams: Streams, pid: int) -> int:
    """Carry the streams until the process ends; returns its status as a shell counts it.

    A host that goes away means that nobody wants the process any more: it is killed.
    """
    ended = os.pidfd_open(pid)
    while True:
        ready = _poll(channel, streams, ended)
        if channel.fileno() in ready:
            channel.flush()
            if not streams.full:
                for frame in channel.receive():
                    streams.handle(frame, pid)
        streams.feed()
        for source in [number for number in streams.outputs if number in ready]:
            streams.forward(source, channel)
        if channel.ended:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if ended in ready or channel.ended:
            break
    os.close(ended)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    _empty(channel, streams)
    return status if status >= 0 else 128 - status


def _poll(channel: Channel, streams: Streams, ended: int) -> set[int]:
    poll = select.poll()
    poll.register(ended, select.POLLIN)
    wanted = channel.events & ~(select.POLLIN if streams.full else 0)
    poll.register(channel, wanted)
    if streams.hungry and streams.stdin is not None and streams.stdin != streams.terminal:
        poll.register(streams.stdin, select.POLLOUT)
    if channel.pending < 4 * CHUNK:
        for source in streams.outputs:
            room = select.POLLOUT if streams.hungry and source == streams.terminal else 0
            poll.register(source, select.POLLIN | room)
    return {number for number, _ in poll.poll()}


def _empty(channel: Channel, streams: Streams) -> None:
    """What the process wrote before it ended; whoever else holds its pipes is not waited for."""
    deadline = time.monotonic() + _LAST_WORDS
    for source in list(streams.outputs):
        os.set_blocking(source, False)
        while source in streams.outputs and time.monotonic() < deadline:
            if not select.select([source], [], [], 0)[0]:
                break
            streams.forward(source, channel)
            channel.drain(_LAST_WORDS)


def wait_readable(number: int, channel: Channel) -> bool:
    """Wait until a descriptor can be read; False if the host goes away before that."""
    poll = select.poll()
    poll.register(number, select.POLLIN)
    poll.register(channel, select.POLLRDHUP)
    return number in {ready for ready, _ in poll.poll()}
