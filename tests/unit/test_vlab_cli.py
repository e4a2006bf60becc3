"""``python -m vlab``, as far as it goes without a lab."""

from __future__ import annotations

import getpass
import re
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from harness.host.host import Host
from harness.undo import lock
from tests.unit.conftest import Sshd
from tests.unit.labs import emulated, entered
from tests.unit.patience import PATIENCE
from vlab import cli, machine, registry
from vlab.process import Process
from vlab.qemu import Settings
from vlab.registry import Machine

ROOT = Path(cli.__file__).parents[1]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache."""
    monkeypatch.setenv("VLAB_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_help_names_every_command_and_where_things_are(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["--help"])
    text = capsys.readouterr().out
    for command in ("build", "up", "ssh", "down", "status", "console", "probe", "/srv/lab"):
        assert command in text


@pytest.mark.parametrize("command", ["up", "ssh", "down", "status", "console", "probe", "build"])
def test_each_command_has_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        cli.main([command, "--help"])
    assert end.value.code == 0
    assert f"python -m vlab {command}" in capsys.readouterr().out


@pytest.mark.parametrize("command", ["ssh", "console"])
def test_without_a_lab_the_way_to_one_is_said(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main([command]) == 1
    assert "'python -m vlab up' starts one" in capsys.readouterr().err


def test_a_wrong_number_of_gpus_is_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["up", "--gpus", "9"]) == 1
    assert capsys.readouterr().err == "vlab: a lab has 0 to 4 GPUs, not 9\n"


def test_status_and_down_know_who_is_in_it(capsys: pytest.CaptureFixture[str]) -> None:
    with emulated(entered("mine", settings=Settings(gpus=2), owner=None)) as lab:
        with registry.used(lab, "a neighbour"):
            assert cli.main(["status"]) == 0
            assert re.search(
                r"^mine +0 min +tcg +5120 MiB +2  a neighbour$",
                capsys.readouterr().out,
                re.MULTILINE,
            )
            assert cli.main(["down"]) == 0
            assert "'mine' is in use by a neighbour" in capsys.readouterr().err
            assert lab.alive()
        assert cli.main(["down"]) == 0
        assert "'mine' is down" in capsys.readouterr().err
        assert not lab.alive()
        assert machine.find() == []


def test_a_lab_that_is_taken_down_is_in_use_until_it_is_gone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    users: list[str | None] = []
    stop = machine.stop

    def watched(lab: Machine) -> None:
        users.append(registry.user_of(lab))
        stop(lab)

    monkeypatch.setattr(machine, "stop", watched)
    with emulated(entered(owner=None)):
        assert cli.main(["down"]) == 0
    (user,) = users
    assert user is not None
    assert "vlab down" in user


def test_a_cache_that_cannot_be_used_is_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("VLAB_CACHE", str(tmp_path / "file/cache"))
    for command in ("status", "down", "build"):
        assert cli.main([command]) == 1
        (line,) = capsys.readouterr().err.splitlines()
        assert "Not a directory" in line
        assert "VLAB_CACHE" in line


def test_a_python_without_our_packages_is_one_sentence() -> None:
    done = subprocess.run(
        [sys.executable, "-S", "-m", "vlab", "--help"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 1
    assert "./bootstrap tox" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_build_that_is_told_to_end_cleans_up(cache: Path, number: signal.Signals) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "tests.sample.lab_build"],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        while "at work" not in process.stderr.readline():
            pass
        process.send_signal(number)
        assert process.wait(PATIENCE) == 130
    assert [path for path in cache.iterdir() if path.is_dir()] == []


def test_a_start_that_is_told_to_end_leaves_no_emulator(cache: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "tests.sample.lab_up"], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        emulator = Process.of(int((cache / "recipe/pid").read_text()))
        process.terminate()
        assert process.wait(PATIENCE) == 130
        assert emulator.wait(PATIENCE)
    assert registry.folders() == []


def test_a_signal_that_is_ignored_stays_so() -> None:
    look = "import signal; from vlab import cli; cli.end_on_signals(); "
    look += "print(signal.getsignal(signal.SIGHUP).name)"
    program = ["sh", "-c", 'trap \'\' HUP; exec "$0" -c "$1"', sys.executable, look]
    assert subprocess.run(program, cwd=ROOT, capture_output=True, text=True).stdout == "SIG_IGN\n"


def test_ssh_runs_the_words_in_the_lab(
    sshd: Sshd, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry.Machine, "user", getpass.getuser())
    with emulated(entered(owner=None, port=sshd.endpoint.port)) as lab:
        shutil.copy(sshd.directory / "key", lab.key)
        shutil.copy(sshd.directory / "known_hosts", lab.known_hosts)
        assert cli.main(["ssh", "--", "printf", "%s|", "a b", "$c"]) == 0
        assert cli.main(["ssh", lab.name, "--", "echo $((2 + 3)); exit 7"]) == 7
    assert capfd.readouterr().out == "a b|$c|5\n"


def test_console_shows_what_was_said(capfd: pytest.CaptureFixture[str]) -> None:
    with emulated(entered(owner=None)) as lab:
        lab.console.write_text("Debian\nlogin:\n")
        assert cli.main(["console"]) == 0
    assert capfd.readouterr().out == "Debian\nlogin:\n"


def test_status_sees_a_run_that_came_by_ssh(
    sshd: Sshd,
    local: Host,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert f"{lock.STATE_DIR}/journal/host.lock" == cli.LOCK
    monkeypatch.setattr(cli, "LOCK", f"{tmp_path}/journal/host.lock")
    monkeypatch.setattr(registry.Machine, "user", getpass.getuser())

    def use() -> str:
        assert cli.main(["status"]) == 0
        return capsys.readouterr().out.splitlines()[-1].rpartition("1  ")[2]

    with emulated(entered(owner=None, port=sshd.endpoint.port)) as lab:
        shutil.copy(sshd.directory / "key", lab.key)
        shutil.copy(sshd.directory / "known_hosts", lab.known_hosts)
        assert use() == "free"
        with lock.locked(local, "r1", str(tmp_path)):
            assert use() == f"run r1 of {getpass.getuser()}@{socket.gethostname()}, by ssh"
            (tmp_path / "boot").write_text("another\n")
            monkeypatch.setattr(cli, "BOOT_ID", str(tmp_path / "boot"))
            assert use() == "free"
        lab.known_hosts.write_text("")
        assert use() == "does not answer on ssh"


def test_version_names_the_image_too(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        cli.main(["--version"])
    assert end.value.code == 0
    assert re.fullmatch(
        r"passthrough-acceptance [\d.]+, lab image [0-9a-f]+\n", capsys.readouterr().out
    )
