"""What is ssh's alone: one master, lost connections, refused keys, no stray processes."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from harness.command import HostUnreachable
from harness.host import ANY, Host, open_ssh
from harness.transport import SshTransport
from harness.wait import wait_for
from tests.unit.conftest import Sshd


@pytest.fixture
def own(sshd: Sshd) -> Iterator[Host]:
    """A connection of the test's own, to be broken."""
    with open_ssh(sshd.endpoint, "own", become=False) as host:
        yield host


def _break(host: Host) -> None:
    transport = host._transport
    assert isinstance(transport, SshTransport)
    assert transport._master is not None
    os.kill(transport._master.pid, signal.SIGKILL)
    os.waitid(os.P_PID, transport._master.pid, os.WEXITED | os.WNOWAIT)


def test_many_commands_need_one_connection(sshd: Sshd, own: Host) -> None:
    before = sshd.connections()
    for _ in range(5):
        own.run("true")
    assert sshd.connections() == before


def test_a_lost_connection_is_made_anew_for_a_probe(own: Host) -> None:
    _break(own)
    assert own.run("echo", "again", probe=True).out == "again\n"


def test_a_lost_connection_is_not_made_anew_for_a_change(own: Host, tmp_path: Path) -> None:
    _break(own)
    with pytest.raises(HostUnreachable, match="'own' was lost during 'touch"):
        own.run("touch", str(tmp_path / "f"))
    assert not (tmp_path / "f").exists()


def test_a_connection_lost_in_a_command_is_no_exit_status(own: Host) -> None:
    with pytest.raises(HostUnreachable):
        own.run(
            "sh", "-c", "echo up; exec sleep 1000", ok=ANY, timeout=5, on_line=lambda _: _break(own)
        )


def test_a_probe_is_repeated_only_once(own: Host, tmp_path: Path) -> None:
    count = tmp_path / "count"
    script = 'echo x >>"$1"; echo up; exec sleep 1000'
    with pytest.raises(HostUnreachable):
        own.sh(script, str(count), probe=True, timeout=5, on_line=lambda _: _break(own))
    assert count.read_text() == "x\nx\n"


def test_the_deadline_holds_without_the_connection(own: Host, tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    with pytest.raises(HostUnreachable):
        own.sh(
            'echo $$ >"$1"; echo up; exec sleep 1000',
            str(pid_file),
            timeout=2,
            on_line=lambda _: _break(own),
        )
    stat = Path(f"/proc/{pid_file.read_text().strip()}/stat")
    assert stat.exists()
    wait_for("the command has met its deadline", lambda: not stat.exists(), 20, 0.05)


def test_an_unknown_host_key_is_refused(sshd: Sshd, tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    endpoint = replace(sshd.endpoint, known_hosts=tmp_path / "empty")
    with pytest.raises(HostUnreachable, match="ssh-keyscan"), open_ssh(endpoint, become=False):
        pass


def test_a_key_that_is_not_accepted(sshd: Sshd, tmp_path: Path) -> None:
    key = tmp_path / "other"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    endpoint = replace(sshd.endpoint, identity=key)
    with pytest.raises(HostUnreachable, match="Permission denied"), open_ssh(endpoint):
        pass


def test_nobody_listens(sshd: Sshd) -> None:
    endpoint = replace(sshd.endpoint, port=1)
    with pytest.raises(HostUnreachable, match="cannot be reached"), open_ssh(endpoint):
        pass


def test_closing_leaves_no_process_and_no_socket(sshd: Sshd) -> None:
    with open_ssh(sshd.endpoint, "brief", become=False) as host:
        transport = host._transport
        assert isinstance(transport, SshTransport)
        assert transport._master is not None
        pid, folder = transport._master.pid, transport._dir
        assert folder.exists()
    assert not Path(f"/proc/{pid}").exists()
    assert not folder.exists()


def test_sudo_is_asked_for_without_a_password(sshd: Sshd, tmp_path: Path) -> None:
    """The remote user's PATH leads to a sudo that says how it was called, and does it."""
    sudo = tmp_path / "sudo"
    sudo.write_text('#!/bin/sh\n[ "$1 $2" = "-n --" ] || exit 9\nshift 2\nBECAME=yes exec "$@"\n')
    sudo.chmod(0o755)
    transport = SshTransport(sshd.endpoint, become=True)
    argv = transport.argv(["env"], mark=("MARK", "it"), sweep=["true"])
    script = argv[-1]
    result = subprocess.run(
        ["sh", "-c", script],
        env={"PATH": f"{tmp_path}:/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=True,
    )
    transport.close()
    assert {"BECAME=yes", "MARK=it"} <= {*result.stdout.splitlines()}
