"""A port of the host's network on this machine, carried by one ordinary command.

Not by ssh's own forwarding (-L): hardened hosts switch that off (AllowTcpForwarding no, openEuler's
default), and ssh tells only by closing every connection, as a server that is down does. And not by
a command a connection: each would be one of sshd's ten sessions (MaxSessions), and many clients ask
at once.

Both ends say frames: a connection's number, a length, and so many bytes. The first frame of a
number, which is empty, opens it; the next empty one is the end of what that side says.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import socket
import socketserver
import struct
import subprocess
import threading
from collections.abc import Iterator, Sequence

# The host's end. What a client said waits in a queue, so that no connection waits for another. A
# client that has gone looks like one that has said all: it gets seconds for the rest of an answer,
# and of one without an end what has come by then. That is reset: what comes after a shutdown would
# be read on, or make the server wait for minutes.
RELAY = """
import os, queue, socket, struct, sys, threading, time
head, lock, said = struct.Struct("!II"), threading.Lock(), {}
def say(number, data):
    with lock:
        sys.stdout.buffer.write(head.pack(number, len(data)) + data)
        sys.stdout.buffer.flush()
def up(there, words, over):
    try:
        while data := words.get():
            there.sendall(data)
        there.shutdown(socket.SHUT_WR)
        time.sleep(10)
        there.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("@ii", 1, 0))
        over.set()
        there.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass
def down(number, words):
    try:
        with socket.create_connection((sys.argv[1], int(sys.argv[2])), 30) as there:
            there.settimeout(None)
            over = threading.Event()
            threading.Thread(target=up, args=(there, words, over), daemon=True).start()
            while (data := there.recv(65536)) and not over.is_set():
                say(number, data)
    except OSError:
        pass
    say(number, b"")
while len(first := sys.stdin.buffer.read(head.size)) == head.size:
    number, size = head.unpack(first)
    data = sys.stdin.buffer.read(size)
    if number not in said:
        said[number] = queue.SimpleQueue()
        threading.Thread(target=down, args=(number, said[number]), daemon=True).start()
    else:
        said[number].put(data)
        if not data:
            del said[number]
os._exit(0)
"""
HEAD = struct.Struct("!II")
SIZE = 65536  # bytes of a frame, at most
UNREAD = struct.pack("@ll", 30, 0)  # seconds for a client to take what has come for it


def relay_argv(address: str, port: int) -> list[str]:
    """The command for the host: its end of all connections."""
    return ["python3", "-c", RELAY, address, str(port)]


class _Carrier:
    """The command, while it runs, and the connections that it carries."""

    def __init__(self, argv: Sequence[str]) -> None:
        self.process = subprocess.Popen(
            argv,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # a server that is not up yet is the client's to see
            start_new_session=True,  # a Ctrl-C is for the run, which then ends this
        )
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self._in, self._out = self.process.stdin, self.process.stdout
        self.ended = False
        self._lock = threading.Lock()
        self._saying = threading.Lock()
        self._numbers = itertools.count(1)
        self._clients: dict[int, tuple[socket.socket, threading.Event]] = {}
        self._hearing = threading.Thread(target=self._hear, daemon=True, name="tunnel-down")
        self._hearing.start()

    def carry(self, client: socket.socket) -> None:
        """Carry a connection until it ends on both sides."""
        client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, UNREAD)
        over = threading.Event()
        with self._lock:
            if self.ended:
                return
            number = next(self._numbers)
            self._clients[number] = client, over
        self._say(number, b"")
        with contextlib.suppress(ConnectionError):
            while data := client.recv(SIZE):
                self._say(number, data)
        self._say(number, b"")
        over.wait()

    def _say(self, number: int, data: bytes) -> None:
        """Say a frame; to a command that has ended it is said in vain, and `over` tells so."""
        rest = memoryview(HEAD.pack(number, len(data)) + data)
        with self._saying, contextlib.suppress(OSError):
            while rest and not self.ended:
                rest = rest[os.write(self._in.fileno(), rest) :]

    def _hear(self) -> None:
        """Give each client what comes for it, until the command ends."""
        while len(head := self._out.read(HEAD.size)) == HEAD.size:
            number, size = HEAD.unpack(head)
            if size > SIZE:  # no frame: something else prints there
                break
            self._give(number, self._out.read(size))
        self.end()

    def _give(self, number: int, data: bytes) -> None:
        if number not in self._clients:  # it has gone
            return
        client, over = self._clients[number]
        with contextlib.suppress(OSError):
            if data:
                client.sendall(data)
                return
        self._clients.pop(number, None)
        with contextlib.suppress(OSError):
            client.shutdown(socket.SHUT_RDWR)
        over.set()

    def end(self) -> None:
        """End the command, and with it every connection."""
        self.process.terminate()
        self.process.wait()
        with self._lock:
            self.ended = True
        for number in [*self._clients]:
            self._give(number, b"")
        if threading.current_thread() is self._hearing:
            self._out.close()
            with self._saying:
                self._in.close()
        else:
            self._hearing.join(5)  # ssh's master has its streams, too, and ends them a little later


class _Server(socketserver.ThreadingTCPServer):
    """Accepts here; what carries is started by the first connection, and by one after its end."""

    daemon_threads = True
    request_queue_size = 512  # of many that come at once none is to wait for its second knock

    def __init__(self, argv: Sequence[str]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.argv = list(argv)
        self.lock = threading.Lock()
        self.carrier: _Carrier | None = None
        self.closed = False

    def carry(self, client: socket.socket) -> None:
        """Carry a connection; none any more, once this has ended."""
        with self.lock:
            if self.closed:
                return
            if self.carrier is None or self.carrier.ended:
                self.carrier = _Carrier(self.argv)
            carrier = self.carrier
        carrier.carry(client)

    def end(self) -> None:
        """No more connections, and none of those that there are."""
        self.shutdown()
        self.server_close()
        with self.lock:
            self.closed = True
        if self.carrier is not None:
            self.carrier.end()


class _Handler(socketserver.BaseRequestHandler):
    server: _Server

    def handle(self) -> None:
        self.server.carry(self.request)


@contextlib.contextmanager
def opened(argv: Sequence[str]) -> Iterator[tuple[str, int]]:
    """Listen on a free port of loopback; `argv` is the other end of all its connections.

    Yields (address, port). With the block every connection ends.
    """
    server = _Server(argv)
    thread = threading.Thread(target=server.serve_forever, args=(0.1,), daemon=True, name="tunnel")
    thread.start()
    try:
        yield "127.0.0.1", int(server.server_address[1])
    finally:
        server.end()
        thread.join()
