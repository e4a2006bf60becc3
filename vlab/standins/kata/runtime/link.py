"""The way to a machine's agent: a vsock connection to its CID."""

import os
import select
import socket
from typing import Any

from .. import wire
from ..wire import Channel, PeerError


def connect(cid: int, timeout: float) -> socket.socket:
    """A connection to a machine's agent; OSError if nobody answers in time."""
    sock = socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM)
    sock.setblocking(False)
    try:
        try:
            sock.connect((cid, wire.PORT))
        except BlockingIOError:
            poll = select.poll()
            poll.register(sock, select.POLLOUT)
            if not poll.poll(timeout * 1000):
                raise TimeoutError(f"the agent does not answer within {timeout:.0f} s") from None
            error = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if error:
                raise OSError(error, os.strerror(error)) from None
    except OSError:
        sock.close()
        raise
    return sock


def ask(cid: int, body: dict[str, Any], timeout: float) -> dict[str, Any]:
    """One request, one answer; PeerError if the agent refuses or does not answer in time."""
    try:
        with connect(cid, timeout) as sock:
            return Channel(sock).request(body, timeout)
    except OSError as error:
        raise PeerError(f"the guest's agent does not answer: {error}") from error
