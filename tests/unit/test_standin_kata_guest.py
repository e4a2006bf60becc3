"""kata's stand-in agent and its wire, as far as they can be tested without root and a guest."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.unit.patience import PATIENCE
from vlab.standins.kata import wire
from vlab.standins.kata.agent import bundle, hooks, mounts, network, process, syscalls
from vlab.standins.kata.wire import Channel, Kind, PeerError

ROOT = Path(__file__).resolve().parents[2]


def test_a_card_is_found_by_its_mac(tmp_path: Path) -> None:
    (tmp_path / "ens5").mkdir()
    (tmp_path / "ens5/address").write_text("9e:62:2a:e4:c4:77\n", encoding="ascii")
    assert network.find("9E:62:2A:E4:C4:77", str(tmp_path)) == "ens5"
    with pytest.raises(OSError, match="no network card with MAC 00"):
        network.find("00:00:00:00:00:01", str(tmp_path))


# Hooks


@pytest.fixture
def hook_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A guest_hook_path with an empty prestart folder; the agent's log goes to ``log``."""
    folder = tmp_path / "hooks"
    (folder / "prestart").mkdir(parents=True)

    def keep(level: str, text: str, subsystem: str = "agent") -> None:
        with (tmp_path / "log").open("a", encoding="utf-8") as file:
            file.write(f"{level} {text}\n")

    monkeypatch.setattr(hooks, "log", keep)
    return folder


def settings(folder: Path, timeout: float = PATIENCE) -> hooks.Settings:
    return hooks.Settings(str(folder), timeout, newer=True)


def write_hook(folder: Path, name: str, text: str, mode: int = 0o755) -> Path:
    path = folder / "prestart" / name
    path.write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
    path.chmod(mode)
    return path


def test_only_executable_regular_files_are_hooks(hook_path: Path, tmp_path: Path) -> None:
    hook = write_hook(hook_path, "hook", "true")
    write_hook(hook_path, "plain", "true", 0o644)
    (hook_path / "prestart/link").symlink_to(hook)
    (hook_path / "prestart/folder").mkdir()
    assert hooks.find(settings(hook_path), "prestart") == [str(hook)]
    log = (tmp_path / "log").read_text("utf-8")
    assert "found prestart hook" in log
    assert "plain" not in log
    assert hooks.find(settings(hook_path), "poststart") == []
    assert (tmp_path / "log").read_text("utf-8") == log, "a missing folder is no word worth"


def test_a_hook_gets_its_type_the_state_and_no_environment(hook_path: Path, tmp_path: Path) -> None:
    write_hook(hook_path, "hook", f'cat > {tmp_path}/in; echo "$1 $#"; env > {tmp_path}/env')
    hooks.run_all(settings(hook_path), "prestart", {"id": "c1", "pid": 42})
    assert json.loads((tmp_path / "in").read_text("utf-8")) == {"id": "c1", "pid": 42}
    assert "HOME=" not in (tmp_path / "env").read_text("utf-8")
    log = (tmp_path / "log").read_text("utf-8")
    assert "exec stdout: prestart 1" in log
    assert "exit status of hook" in log
    assert "exec failed" not in log


def test_a_failing_hook_is_logged_and_no_more(hook_path: Path, tmp_path: Path) -> None:
    write_hook(hook_path, "hook", "echo trouble >&2; exit 3")
    hooks.run_all(settings(hook_path), "prestart", {})
    log = (tmp_path / "log").read_text("utf-8")
    assert "exec failed: trouble" in log
    assert "Exited(3)" in log


def test_a_hook_that_cannot_be_run_is_logged(hook_path: Path, tmp_path: Path) -> None:
    hook = write_hook(hook_path, "hook", "")
    hook.write_bytes(b"\x7fELF but not really")
    hooks.run_all(settings(hook_path), "prestart", {})
    said = (tmp_path / "log").read_text("utf-8").splitlines()[-1]
    assert said.startswith(f"ERRO hook {hook} failed: failed to create subprocess")


# Containers in the guest


def test_mount_options_are_flags_and_data() -> None:
    flags, data = mounts.parse_options(["nosuid", "ro", "rprivate", "size=64k", "mode=755"])
    assert flags == 1 | 2
    assert data == "size=64k,mode=755"
    assert mounts.parse_options(["ro", "rw"]) == (0, "")


def test_links_in_an_image_do_not_lead_out_of_its_root(tmp_path: Path) -> None:
    (tmp_path / "var").mkdir()
    (tmp_path / "var/run").symlink_to("/run")
    (tmp_path / "up").symlink_to("../../../etc")
    assert mounts.within(str(tmp_path), "/var/run/x") == f"{tmp_path}/run/x"
    assert mounts.within(str(tmp_path), "/up/passwd") == f"{tmp_path}/etc/passwd"
    assert mounts.within(str(tmp_path), "/../../a/./b") == f"{tmp_path}/a/b"
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(OSError, match="too many symbolic links"):
        mounts.within(str(tmp_path), "/loop")


def test_a_program_is_found_on_the_containers_path(tmp_path: Path) -> None:
    (tmp_path / "tool").write_text("#!/bin/sh\n", encoding="ascii")
    with pytest.raises(process.StartError, match="the file tool was not found"):
        process.find_executable(["tool"], [f"PATH={tmp_path}"])
    (tmp_path / "tool").chmod(0o755)
    assert process.find_executable(["tool"], [f"PATH={tmp_path}"]) == f"{tmp_path}/tool"


def test_capabilities_have_the_kernels_numbers() -> None:
    assert syscalls.capability_mask(["CAP_CHOWN", "CAP_SYS_ADMIN"]) == 1 << 0 | 1 << 21
    assert syscalls.capability_mask(["CAP_CHECKPOINT_RESTORE"]) == 1 << 40
    with pytest.raises(ValueError, match="not in tuple"):
        syscalls.capability_mask(["CAP_NONSENSE"])


@pytest.mark.parametrize("name", ["", "..", "a/b", "shared"])
def test_a_container_cannot_be_named_out_of_its_place(name: str) -> None:
    with pytest.raises(PeerError, match="cannot name a container"):
        bundle.folder(name)


# The wire


@pytest.fixture
def channels() -> tuple[Channel, Channel]:
    left, right = socket.socketpair()
    return Channel(left), Channel(right)


def test_a_request_is_answered(channels: tuple[Channel, Channel]) -> None:
    host, guest = channels

    def answer() -> None:
        request = guest.message(5)
        guest.tell({"heard": request["do"]})
        guest.drain(5)

    thread = threading.Thread(target=answer)
    thread.start()
    assert host.request({"do": "x"}, 5) == {"heard": "x"}
    thread.join()


def test_a_refusal_is_an_error_with_the_peers_reason(channels: tuple[Channel, Channel]) -> None:
    host, guest = channels
    guest.tell({"error": "no such thing"})
    with pytest.raises(PeerError, match="no such thing"):
        host.request({"do": "x"}, 5)


def test_silence_and_a_lost_peer_are_told_apart(channels: tuple[Channel, Channel]) -> None:
    host, guest = channels
    with pytest.raises(PeerError, match="no answer within 0 s"):
        host.message(0.05)
    guest.sock.close()
    with pytest.raises(PeerError, match="closed the connection"):
        host.message(5)


def test_nonsense_is_refused(channels: tuple[Channel, Channel]) -> None:
    host, guest = channels
    guest.sock.send(b"\x63\0\0\0\0")
    with pytest.raises(PeerError, match="unknown kind 99"):
        host.message(5)


def test_two_full_directions_do_not_block(channels: tuple[Channel, Channel]) -> None:
    host, guest = channels
    data = os.urandom(3 << 20)
    for channel in channels:
        channel.send(Kind.STDIN, data)
        assert channel.pending
    got: dict[Channel, bytes] = {}
    for _ in range(1000):
        for channel in channels:
            channel.flush()
            for frame in channel.receive():
                got[channel] = frame.payload
        if len(got) == 2:
            break
    assert got == {host: data, guest: data}


COMMAND = [sys.executable, "-m", "tests.sample.relay"]  # streams, from end to end


def relayed(*argv: str, given: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [*COMMAND, *argv], cwd=ROOT, input=given, capture_output=True, timeout=PATIENCE, check=False
    )


def test_streams_and_status_come_through() -> None:
    done = relayed("sh", "-c", "cat; echo err >&2; exit 7", given=b"hello")
    assert (done.stdout, done.stderr, done.returncode) == (b"hello", b"err\n", 7)


def test_much_input_comes_back_whole() -> None:
    data = os.urandom(4 << 20)
    done = relayed("cat", given=data)
    assert done.stdout == data
    assert done.returncode == 0


def test_a_death_by_signal_is_counted_as_a_shell_does() -> None:
    assert relayed("sh", "-c", "kill -TERM $$").returncode == 143


def test_the_last_words_of_a_process_are_not_lost() -> None:
    done = relayed("sh", "-c", "sleep 20 & head -c 50000 /dev/zero")
    assert len(done.stdout) == 50000


def test_a_signal_to_the_relay_reaches_the_process() -> None:
    words = ["sh", "-c", "trap 'echo caught; exit 9' USR1; echo ready; while :; do sleep .05; done"]
    pipe = subprocess.PIPE
    with subprocess.Popen([*COMMAND, *words], cwd=ROOT, stdin=pipe, stdout=pipe) as running:
        assert running.stdout is not None
        assert running.stdout.readline() == b"ready\n"
        running.send_signal(10)
        assert running.stdout.readline() == b"caught\n"
        assert running.wait(PATIENCE) == 9


def test_the_port_is_katas() -> None:
    assert wire.PORT == 1024
