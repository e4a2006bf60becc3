"""Relays of a tunnel end, and are never many: each is one of sshd's sessions."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from harness.host import tunnel
from harness.wait import wait_for
from tests.unit.patience import PATIENCE


@pytest.mark.finding("F17", "a server that never answers keeps a relay for ever")
def test_a_relay_ends_when_its_client_has_gone() -> None:
    program = tunnel.RELAY.replace("time.sleep(10)", "time.sleep(0)")
    assert program != tunnel.RELAY
    with socket.create_server(("127.0.0.1", 0)) as silent:
        words = [sys.executable, "-c", program, *map(str, silent.getsockname())]
        relay = subprocess.Popen(words, stdin=subprocess.PIPE)
        with silent.accept()[0]:
            assert relay.stdin is not None
            relay.stdin.close()
            assert relay.wait(PATIENCE) == 0


@pytest.mark.finding("F17", "connections to a forwarded port take all of sshd's sessions")
def test_connections_take_their_turn(tmp_path: Path) -> None:
    log = tmp_path / "log"
    relay = ["sh", "-c", 'echo up >>"$1"; cat >/dev/null; echo down >>"$1"', "sh", str(log)]

    def lines() -> list[str]:
        return log.read_text().split() if log.exists() else []

    with contextlib.ExitStack() as stack:
        address = stack.enter_context(tunnel.opened(relay))
        clients = [
            stack.enter_context(socket.create_connection(address))
            for _ in range(tunnel.AT_ONCE + 1)
        ]
        wait_for("relays are up", lambda: len(lines()) >= tunnel.AT_ONCE, PATIENCE, 0.02)
        for client in clients:  # whichever of them came first
            client.shutdown(socket.SHUT_WR)
        wait_for("all have come", lambda: len(lines()) == 2 * len(clients), PATIENCE, 0.02)
    running = most = 0
    for line in lines():
        running += 1 if line == "up" else -1
        most = max(most, running)
    assert most == tunnel.AT_ONCE
