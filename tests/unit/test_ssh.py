"""What is ssh's alone: one master, lost connections, refused keys, no stray processes."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest

from harness.errors import BadUsage
from harness.host.command import CAPTURE, Capture, CommandTimeout, HostUnreachable
from harness.host.host import ANY, Host, open_ssh
from harness.host.ssh import SshTransport, _take_in
from harness.wait import wait_for
from tests.unit.conftest import IS_WAITED_FOR, TIME_IS_UP, Sshd, break_connection, runs
from tests.unit.patience import PATIENCE


def test_many_commands_need_one_connection(sshd: Sshd, own: Host) -> None:
    before = sshd.connections()
    for _ in range(5):
        own.run("true")
    assert sshd.connections() == before


def test_a_lost_connection_is_made_anew_for_a_probe(own: Host) -> None:
    break_connection(own)
    assert own.run("echo", "again", probe=True).out == "again\n"


def test_a_lost_connection_is_not_made_anew_for_a_change(own: Host, tmp_path: Path) -> None:
    break_connection(own)
    with pytest.raises(HostUnreachable, match="'own' was lost during 'touch"):
        own.run("touch", str(tmp_path / "f"))
    assert not (tmp_path / "f").exists()


def test_who_knows_what_became_of_the_host_is_asked(sshd: Sshd) -> None:
    with open_ssh(sshd.endpoint, "own", become=False, why=lambda: "its kernel panicked") as own:
        own.run("true")
        break_connection(own)
        with pytest.raises(HostUnreachable, match="lost during 'true': its kernel panicked"):
            own.run("true")


def test_a_connection_lost_in_a_command_is_no_exit_status(own: Host) -> None:
    with pytest.raises(HostUnreachable):
        own.run(
            "sh",
            "-c",
            "echo up; exec sleep 1000",
            ok=ANY,
            on_line=lambda _: break_connection(own),
        )


def test_a_probe_is_repeated_only_once(own: Host, tmp_path: Path) -> None:
    count = tmp_path / "count"
    script = 'echo x >>"$1"; echo up; exec sleep 1000'
    with pytest.raises(HostUnreachable):
        own.sh(script, str(count), probe=True, on_line=lambda _: break_connection(own))
    assert count.read_text() == "x\nx\n"


def test_the_deadline_holds_without_the_connection(own: Host, tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    with pytest.raises(HostUnreachable):
        own.sh(
            f'echo $$ >"$1"; {IS_WAITED_FOR}; echo up; exec sleep 1000',
            str(pid_file),
            on_line=lambda _: break_connection(own),
        )
    stat = Path(f"/proc/{pid_file.read_text().strip()}/stat")
    parent = int(stat.read_text().rpartition(")")[2].split()[1])
    os.kill(parent, signal.SIGALRM)  # timeout(1): its time is up
    wait_for("the command has met its deadline", lambda: not stat.exists(), PATIENCE, 0.05)


def test_an_unknown_host_key_is_refused(sshd: Sshd, tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    endpoint = replace(sshd.endpoint, known_hosts=tmp_path / "empty")
    says = r"ssh-keyscan -p \d+ 127.0.0.1 >> .*empty$"
    with pytest.raises(HostUnreachable, match=says), open_ssh(endpoint, become=False):
        pass


def test_a_key_that_is_not_accepted(sshd: Sshd, tmp_path: Path) -> None:
    key = tmp_path / "other"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    endpoint = replace(sshd.endpoint, identity=key)
    with pytest.raises(HostUnreachable, match="Permission denied"), open_ssh(endpoint):
        pass


def test_a_key_that_is_not_there(sshd: Sshd, tmp_path: Path) -> None:
    endpoint = replace(sshd.endpoint, identity=tmp_path / "no key")
    says = r"there is no key '.*no key' \(target.identity\)"
    with pytest.raises(HostUnreachable, match=says), open_ssh(endpoint, become=False):
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


SUDO = """#!/bin/sh
if [ -e "$0.refuses" ]; then echo "sudo: a password is required" >&2; exit 1; fi
[ "$1 $2" = "-n --" ] || exit 9
shift 2
exec env -i PATH="$PATH" SUDO_USER=somebody "$@"
"""


@pytest.fixture
def sudo(tmp_path: Path) -> Path:
    """A sudo that says how it was called and clears the environment, as the real one does.

    It does not change the user: the real one cannot be set up for a test.
    """
    program = tmp_path / "sudo bin" / "sudo"
    program.parent.mkdir()
    program.write_text(SUDO)
    program.chmod(0o755)
    return program


@pytest.mark.usefixtures("deadline_on_call")
def test_a_user_who_is_not_root_goes_through_sudo(sudo: Path, tmp_path: Path) -> None:
    server = Sshd(tmp_path, f'"PATH={sudo.parent}:/usr/bin:/bin"')
    try:
        with open_ssh(server.endpoint, "by sudo", become=True) as host:
            environ = host.sh("cat; env", input="in\n", env={"OURS": "a b"}).out.splitlines()
            assert {"in", "SUDO_USER=somebody", "OURS=a b"} <= {*environ}
            script = f'setsid sleep 1000 & echo $! >"$1"; {TIME_IS_UP}; wait'
            with pytest.raises(CommandTimeout):
                host.sh(script, str(tmp_path / "pid"), timeout=1000)
            assert not runs(int((tmp_path / "pid").read_text()))
        Path(f"{sudo}.refuses").touch()
        with (
            pytest.raises(HostUnreachable, match=r"password is required(.|\n)*hint: .*'sudo -n'"),
            open_ssh(server.endpoint, "by sudo", become=True),
        ):
            pass
    finally:
        server.close()


def test_another_host_key_than_the_known_one_is_refused(sshd: Sshd, tmp_path: Path) -> None:
    """As after a reinstallation, or with somebody in between."""
    key = tmp_path / "other"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    known = tmp_path / "known_hosts"
    known.write_text(f"[127.0.0.1]:{sshd.endpoint.port} {key.with_suffix('.pub').read_text()}")
    endpoint = replace(sshd.endpoint, known_hosts=known)
    with pytest.raises(HostUnreachable) as caught, open_ssh(endpoint, "changed"):
        pass
    text = str(caught.value)
    assert f"shows another host key than the one in '{known}'" in text
    assert f"ssh-keygen -f {known} -R '[127.0.0.1]:{endpoint.port}'" in text
    assert "@@@" not in text


@pytest.fixture
def configured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's configuration of ssh, to be written.

    ssh finds it by the user's entry in passwd: hence by an ssh on PATH.
    """
    config = tmp_path / "config"
    ssh = tmp_path / "bin" / "ssh"
    ssh.parent.mkdir()
    ssh.write_text(f'#!/bin/sh\nexec {shutil.which("ssh")} -F "{config}" "$@"\n')
    ssh.chmod(0o755)
    monkeypatch.setenv("PATH", f"{ssh.parent}:{os.environ['PATH']}")
    return config


@pytest.mark.finding("F15", "a user's configuration has ssh take any key on loopback")
def test_a_wrong_key_on_loopback_is_refused_whatever_is_configured(
    sshd: Sshd, tmp_path: Path, configured: Path
) -> None:
    configured.write_text("NoHostAuthenticationForLocalhost yes\n")
    (tmp_path / "empty").touch()
    endpoint = replace(sshd.endpoint, known_hosts=tmp_path / "empty")
    with pytest.raises(HostUnreachable, match="host key is not in"), open_ssh(endpoint):
        pass


@pytest.mark.finding("F8", "a path with quotes, % or a backslash is another one to ssh")
def test_a_path_may_have_any_name(
    sshd: Sshd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "a %h \"b\" 'c' \\d"
    folder.mkdir()
    for name in ("key", "known_hosts"):
        shutil.copy2(sshd.directory / name, folder)
    endpoint = replace(sshd.endpoint, identity=folder / "key", known_hosts=folder / "known_hosts")
    runtime = Path(tempfile.mkdtemp(prefix="a %h \"' "))  # a socket's path has to be short
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime))
    try:
        with open_ssh(endpoint, become=False) as host:
            assert [path.name[:4] for path in runtime.iterdir()] == ["ssh-"]
            assert host.run("echo", "up").out == "up\n"
        variable = replace(endpoint, identity=Path("/${HOME}/key"))
        with pytest.raises(BadUsage, match="cannot be told of a path"), open_ssh(variable):
            pass
    finally:
        shutil.rmtree(runtime)


def test_a_users_configuration_does_not_take_the_master_away(sshd: Sshd, configured: Path) -> None:
    configured.write_text(
        "IgnoreUnknown ForkAfterAuthentication,SessionType,StdinNull,UseKeychain\n"
        "UseKeychain yes\nControlPersist yes\nForkAfterAuthentication yes\nSessionType none\n"
        "StdinNull yes\nRemoteCommand sleep 1000\n"
        f"ExitOnForwardFailure yes\nLocalForward 127.0.0.1:{sshd.endpoint.port} localhost:1\n"
    )
    before = {*sshd.connections()}
    with open_ssh(sshd.endpoint, "configured", become=False) as host:
        transport = host._transport
        assert isinstance(transport, SshTransport)
        assert transport._master is not None
        pid = transport._master.pid
        assert host.run("echo", "up").out == "up\n"
        assert runs(pid)
    assert not runs(pid)
    wait_for("its connection is gone", lambda: before >= {*sshd.connections()}, PATIENCE, 0.02)


@pytest.mark.finding("F7", "a hostile server fills the master's log")
def test_of_what_a_server_says_the_end_is_kept() -> None:
    said = Capture(None)
    with subprocess.Popen(["head", "-c", "5000000", "/dev/zero"], stdout=subprocess.PIPE) as server:
        assert server.stdout is not None
        _take_in(server.stdout, said)
    assert said.total == 5_000_000
    assert len(said._kept) <= 2 * CAPTURE
