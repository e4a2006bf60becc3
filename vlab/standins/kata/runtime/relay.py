"""Carries a process's streams between the shim's descriptors and the agent, until it ends."""

import os
import select
import signal
import time

from ..wire import CHUNK, Channel, Kind, pack_size
from . import terminal

# What a kill of the relay itself means: containerd's shim signals an exec's process directly.
_FORWARDED = (
    *(signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1),
    *(signal.SIGUSR2, signal.SIGALRM, signal.SIGCONT, signal.SIGTSTP),
)
# A pipe that polls writable takes this much without blocking (pipe(7)).
_ATOMIC = select.PIPE_BUF
_LAST_WORDS = 2.0  # seconds to deliver what came before the end
LOST = 137  # the status when the machine goes away


class Relay:
    """One process's streams. ``tty``: descriptors 0 to 2 are one raw terminal."""

    def __init__(self, channel: Channel, *, tty: bool, machine: int | None = None) -> None:
        self._channel = channel
        self._tty = tty
        self._machine = machine  # a pidfd of QEMU, whose end is everybody's end
        self._stdin_open = True
        self._out = {1: bytearray(), 2: bytearray()}
        self._status: int | None = None
        self._wake, wake = os.pipe()
        os.set_blocking(wake, False)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        for number in (*_FORWARDED, signal.SIGWINCH):
            signal.signal(number, lambda *_: None)
        signal.signal(signal.SIGPIPE, signal.SIG_IGN)
        if tty:
            self._send_size()

    def run(self) -> int:
        """Relay until the process has ended; returns its status, 137 if the machine is lost."""
        while self._status is None:
            ready = self._wait()
            if self._wake in ready:
                self._signals(os.read(self._wake, 256))
            if self._channel.fileno() in ready:
                self._from_guest()
            if 0 in ready:
                self._to_guest()
            for number in (1, 2):
                if number in ready:
                    self._write(number)
            if self._machine in ready:
                self._from_guest()
                self._status = LOST if self._status is None else self._status
        self._last_words()
        return self._status

    def _wait(self) -> set[int]:
        poll = select.poll()
        room = all(len(buffer) < 4 * CHUNK for buffer in self._out.values())
        writes = select.POLLOUT if self._channel.pending else 0
        poll.register(self._channel, writes | (select.POLLIN if room else 0))
        poll.register(self._wake, select.POLLIN)
        if self._machine is not None:
            poll.register(self._machine, select.POLLIN)
        if self._stdin_open and self._channel.pending < CHUNK:
            poll.register(0, select.POLLIN)
        for number, buffer in self._out.items():
            if buffer:
                poll.register(number, select.POLLOUT)
        return {number for number, _ in poll.poll()}

    def _from_guest(self) -> None:
        self._channel.flush()
        for frame in self._channel.receive():
            if frame.kind is Kind.STDOUT:
                self._out[1] += frame.payload
            elif frame.kind is Kind.STDERR:
                self._out[2] += frame.payload
            elif frame.kind is Kind.EXIT:
                self._status = int(frame.payload)
        if self._channel.ended and self._status is None:
            self._status = LOST

    def _to_guest(self) -> None:
        try:
            data = os.read(0, CHUNK)
        except BlockingIOError:
            return
        except OSError:  # a terminal that was hung up
            data = b""
        if data:
            self._channel.send(Kind.STDIN, data)
        else:
            self._stdin_open = False
            self._channel.send(Kind.CLOSE_STDIN)

    def _write(self, number: int) -> None:
        buffer = self._out[number]
        try:
            del buffer[: os.write(number, buffer[:_ATOMIC])]
        except BlockingIOError:
            return
        except OSError:
            buffer.clear()  # nobody reads any more

    def _signals(self, numbers: bytes) -> None:
        for number in numbers:
            if number == signal.SIGWINCH:
                self._send_size()
            elif number in _FORWARDED:
                self._channel.send(Kind.SIGNAL, str(number).encode())

    def _send_size(self) -> None:
        if self._tty:
            self._channel.send(Kind.RESIZE, pack_size(*terminal.size(0)))

    def _last_words(self) -> None:
        deadline = time.monotonic() + _LAST_WORDS
        while any(self._out.values()) and time.monotonic() < deadline:
            poll = select.poll()
            for number, buffer in self._out.items():
                if buffer:
                    poll.register(number, select.POLLOUT)
            for number, _ in poll.poll(_LAST_WORDS * 1000):
                self._write(number)
