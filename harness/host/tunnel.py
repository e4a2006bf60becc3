"""A port of the host's network on this machine, carried by ordinary commands.

Not by ssh's own forwarding (-L): hardened hosts switch that off (AllowTcpForwarding no, openEuler's
default), and ssh tells only by closing every connection, as a server that is down does.
"""

from __future__ import annotations

import contextlib
import socketserver
import subprocess
import threading
from collections.abc import Iterator, Sequence

# Joins a connection of the host's with its own standard streams; ends when either side does. A
# client that has gone looks like one that has said all: it gets seconds for the rest of an answer,
# else a server that never answers would take up sshd's sessions one by one.
RELAY = """
import os, socket, sys, threading, time
there = socket.create_connection((sys.argv[1], int(sys.argv[2])), 30)
there.settimeout(None)
def up():
    while data := os.read(0, 65536):
        there.sendall(data)
    there.shutdown(socket.SHUT_WR)
    time.sleep(10)
    os._exit(0)
threading.Thread(target=up, daemon=True).start()
while data := there.recv(65536):
    while data:
        data = data[os.write(1, data):]
"""

AT_ONCE = 4  # connections; sshd has ten sessions (MaxSessions), and commands need some, too


def relay_argv(address: str, port: int) -> list[str]:
    """The command for the host: its end of one connection."""
    return ["python3", "-c", RELAY, address, str(port)]


class _Server(socketserver.ThreadingTCPServer):
    """Accepts here; each connection gets a process of its own, whose streams it is, in its turn."""

    daemon_threads = True

    def __init__(self, argv: Sequence[str]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.argv = list(argv)
        self.lock = threading.Lock()
        self.places = threading.BoundedSemaphore(AT_ONCE)
        self.processes: set[subprocess.Popen[bytes]] = set()
        self.closed = False

    def end(self) -> None:
        """No more connections, and none of those that there are."""
        self.shutdown()
        self.server_close()
        with self.lock:
            self.closed = True
            processes = list(self.processes)
        for process in processes:
            process.terminate()
            process.wait()


class _Handler(socketserver.BaseRequestHandler):
    server: _Server

    def handle(self) -> None:
        with self.server.places:
            self._carry()

    def _carry(self) -> None:
        with self.server.lock:
            if self.server.closed:
                return
            process = subprocess.Popen(
                self.server.argv,
                stdin=self.request,
                stdout=self.request,
                stderr=subprocess.DEVNULL,  # a server that is not up yet is the client's to see
                start_new_session=True,  # a Ctrl-C is for the run, which then ends this
            )
            self.server.processes.add(process)
        process.wait()
        with self.server.lock:
            self.server.processes.discard(process)


@contextlib.contextmanager
def opened(argv: Sequence[str]) -> Iterator[tuple[str, int]]:
    """Listen on a free port of loopback; each connection is what `argv` makes of its streams.

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
