"""A tunnel carries all connections by one command, and each ends when its client has gone."""

from __future__ import annotations

import contextlib
import socket
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.host import tunnel
from harness.wait import wait_for
from tests.unit.patience import PATIENCE

MANY = 64


def relay(server: socket.socket, patience: float = PATIENCE) -> list[str]:
    """The other end, with so many seconds for one who has gone, or has said all."""
    program = tunnel.RELAY.replace("time.sleep(10)", f"time.sleep({patience})")
    assert program != tunnel.RELAY
    address, port = server.getsockname()
    return [sys.executable, "-c", program, address, str(port)]


@pytest.fixture
def listening() -> Iterator[socket.socket]:
    """A server that accepts when a test does."""
    with socket.create_server(("127.0.0.1", 0), backlog=MANY) as server:
        server.settimeout(PATIENCE)
        yield server


def connected(address: tuple[str, int]) -> socket.socket:
    """A client."""
    return socket.create_connection(address, PATIENCE)


@pytest.mark.finding("F17", "a server that never answers keeps a relay for ever")
def test_a_connection_ends_when_its_client_has_gone(listening: socket.socket) -> None:
    with tunnel.opened(relay(listening, 0)) as address:
        connected(address).close()
        with listening.accept()[0] as silent:
            silent.settimeout(PATIENCE)
            assert silent.recv(1) == b""
            with contextlib.suppress(OSError):  # it may be reset while there is more of it
                while silent.send(b"x" * 65536):
                    pass


@pytest.mark.finding("F17", "connections to a forwarded port take all of sshd's sessions")
def test_many_connections_are_one_command(listening: socket.socket, tmp_path: Path) -> None:
    """All are open at once, and each gets its own answer, the last one first."""
    count = ["sh", "-c", 'echo up >>"$0"; exec "$@"', str(tmp_path / "log"), *relay(listening)]
    with tunnel.opened(count) as address, contextlib.ExitStack() as stack:
        clients = [stack.enter_context(connected(address)) for _ in range(MANY)]
        for number, client in enumerate(clients):
            client.sendall(b"%d\n" % number)
            client.shutdown(socket.SHUT_WR)
        servers = [stack.enter_context(listening.accept()[0]) for _ in clients]
        for server in reversed(servers):
            asked = server.makefile("rb").read()
            server.sendall(asked * 10_000)
            server.close()
        for number, client in enumerate(clients):
            assert client.makefile("rb").read() == b"%d\n" % number * 10_000
    assert (tmp_path / "log").read_text() == "up\n"


def test_a_refused_connection_is_closed_and_no_other(listening: socket.socket) -> None:
    with tunnel.opened(relay(listening)) as address, connected(address) as good:
        server = listening.accept()[0]
        listening.close()
        with server, connected(address) as refused:
            assert refused.recv(1) == b""
            server.sendall(b"x")
            assert good.recv(1) == b"x"


def test_after_its_end_the_command_is_started_anew(tmp_path: Path) -> None:
    """As after a lost connection to the host; what it prints that is no frame ends it, too."""
    script = 'if [ -e "$0" ]; then exec cat; fi; echo up >"$0"; echo "Welcome to the host"'
    with tunnel.opened(["sh", "-c", script, str(tmp_path / "up")]) as address:
        with connected(address) as first:
            assert first.recv(1) == b""

        def echoed() -> bool:
            with connected(address) as later:  # `cat` says each frame back: the first one ends it
                later.sendall(b"x")
                return later.recv(1) == b""

        wait_for("another command", echoed, PATIENCE, 0.02)


def test_the_end_of_a_tunnel_is_the_end_of_all(listening: socket.socket) -> None:
    before = threading.active_count()
    with tunnel.opened(relay(listening)) as address:
        client = connected(address)
        server = listening.accept()[0]
    with client, server:
        assert client.recv(1) == b""
        assert server.recv(1) == b""
    wait_for("its threads end", lambda: threading.active_count() <= before, PATIENCE, 0.02)
