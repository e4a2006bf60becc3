"""What kata's stand-in runtime (host) and stand-in agent (guest) say to each other.

Stands for: kata's ttrpc protocol over vsock. Real: the transport (AF_VSOCK, port 1024, as kata's).
Not real: the encoding. One connection serves one request; where the request starts a process, the
connection then carries that process's streams until its exit status ends it. Whoever closes a
connection early gives the process up.

A frame is one byte of kind, four of length (big endian), and the payload.
"""

import json
import select
import socket
import struct
import time
from enum import IntEnum
from typing import Any, NamedTuple

PORT = 1024
GUEST_SHARED = "/run/kata-containers/shared/containers"  # where the shared folder is in the guest
SHARED_TAG = "kataShared"  # kata's own name for it
CHUNK = 65536
_HEAD = struct.Struct("!BI")
_SIZE = struct.Struct("!HH")


class Kind(IntEnum):
    """What a frame carries."""

    MESSAGE = 0  # a request or its answer, JSON
    STDIN = 1
    STDOUT = 2
    STDERR = 3
    CLOSE_STDIN = 4
    SIGNAL = 5  # the number as decimal text
    RESIZE = 6  # rows and columns, two bytes each
    EXIT = 7  # the status as decimal text: 0..255, 128 + n for a death by signal n


class Frame(NamedTuple):
    """One frame, as received."""

    kind: Kind
    payload: bytes


class PeerError(Exception):
    """The other side refused a request, answered nonsense, or went away."""


class Channel:
    """A connection that never blocks: what cannot be sent yet waits in a buffer.

    Both sides relay in both directions; if either blocked while sending, two full socket buffers
    would stop them for ever. ``pending`` lets the caller stop reading its source instead.
    """

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self.sock = sock
        self.ended = False
        self._in = bytearray()
        self._out = bytearray()

    def fileno(self) -> int:
        return self.sock.fileno()

    @property
    def pending(self) -> int:
        """Bytes that wait to be sent."""
        return len(self._out)

    @property
    def events(self) -> int:
        """What to poll this connection for."""
        return select.POLLIN | (select.POLLOUT if self._out else 0)

    def send(self, kind: Kind, payload: bytes = b"") -> None:
        """Queue a frame and send what the socket takes now."""
        self._out += _HEAD.pack(kind, len(payload)) + payload
        self.flush()

    def flush(self) -> None:
        """Send what the socket takes; a peer that is gone shows as ``ended``."""
        while self._out and not self.ended:
            try:
                sent = self.sock.send(self._out[: 4 * CHUNK])
            except BlockingIOError:
                return
            except OSError:
                self.ended = True
                return
            del self._out[:sent]

    def receive(self) -> list[Frame]:
        """Read what is there; returns the frames that are complete."""
        try:
            data = self.sock.recv(4 * CHUNK)
            self.ended = self.ended or not data
            self._in += data
        except BlockingIOError:
            pass
        except OSError:
            self.ended = True
        return self._frames()

    def _frames(self) -> list[Frame]:
        frames = []
        while len(self._in) >= _HEAD.size:
            kind, length = _HEAD.unpack_from(self._in)
            if len(self._in) < _HEAD.size + length:
                break
            try:
                frames.append(Frame(Kind(kind), bytes(self._in[_HEAD.size : _HEAD.size + length])))
            except ValueError as error:
                raise PeerError(f"the peer sent a frame of unknown kind {kind}") from error
            del self._in[: _HEAD.size + length]
        return frames

    def message(self, timeout: float) -> dict[str, Any]:
        """Wait for the one message that is due; PeerError if none comes, or the peer refused."""
        deadline = time.monotonic() + timeout
        poll = select.poll()
        while True:
            poll.register(self, self.events)
            if not poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
                raise PeerError(f"no answer within {timeout:.0f} s")
            self.flush()
            for frame in self.receive():
                return decode(frame)
            if self.ended:
                raise PeerError("the peer closed the connection without an answer")

    def request(self, body: dict[str, Any], timeout: float) -> dict[str, Any]:
        """Send a request and wait for its answer; PeerError with the peer's reason on refusal."""
        self.tell(body)
        answer = self.message(timeout)
        if "error" in answer:
            raise PeerError(str(answer["error"]))
        return answer

    def tell(self, body: dict[str, Any]) -> None:
        """Queue a message."""
        self.send(Kind.MESSAGE, json.dumps(body).encode())

    def drain(self, timeout: float) -> None:
        """Wait until everything queued is sent, or the peer is gone, or time is up."""
        deadline = time.monotonic() + timeout
        poll = select.poll()
        while self._out and not self.ended and time.monotonic() < deadline:
            poll.register(self, select.POLLOUT)
            poll.poll(max(0.0, deadline - time.monotonic()) * 1000)
            self.flush()


def decode(frame: Frame) -> dict[str, Any]:
    """The message in a frame; PeerError if it holds something else."""
    if frame.kind is not Kind.MESSAGE:
        raise PeerError(f"the peer sent {frame.kind.name} where a message is due")
    body = json.loads(frame.payload)
    if not isinstance(body, dict):
        raise PeerError("the peer sent a message that is no JSON object")
    return body


def pack_size(rows: int, columns: int) -> bytes:
    """The payload of RESIZE."""
    return _SIZE.pack(rows, columns)


def unpack_size(payload: bytes) -> tuple[int, int]:
    """Rows and columns of a RESIZE payload."""
    rows, columns = _SIZE.unpack(payload)
    return rows, columns
