"""A real QEMU, out of the lab's image, without a guest: started, asked, ended."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from vlab import image, launch, machine, qemu, qmp, registry
from vlab.errors import VlabError
from vlab.image import Image
from vlab.process import Process
from vlab.qemu import Settings

Command = Callable[..., list[str]]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A machine's folder, deeper than the path of a socket may be."""
    deep = tmp_path / ("deep" * 25)
    deep.mkdir()
    (deep / "key.pub").write_text("ssh-ed25519 AAAA vlab\n")
    return deep


@pytest.fixture(scope="session")
def bare() -> Command:
    """The command line of a real QEMU that has no guest, for a port."""
    emulator = image.ensure(print).emulator("qemu-system-x86_64")
    none = ["-M", "none", "-nodefaults", "-display", "none"]
    return lambda port, sockets=(): [*emulator, *none, *qemu.monitor(), *qemu.network(port)]


def test_a_port_that_is_taken_meanwhile_is_chosen_anew(
    folder: Path, bare: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        free = launch.free_port()
        choices = [free, taken.getsockname()[1]]
        monkeypatch.setattr(launch, "free_port", choices.pop)
        process, port = launch.launch(folder, bare, bound=True)
        assert port == free
        assert qmp.ask(folder, "query-version")["qemu"]["major"] >= 7
        qmp.ask(folder, "quit")
        assert process.wait(20) == 0


def test_ports_that_are_always_taken_are_an_error(
    folder: Path, bare: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launch, "PORT_TRIES", 2)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        monkeypatch.setattr(launch, "free_port", lambda: taken.getsockname()[1])
        with pytest.raises(VlabError, match=r"2 ports in a row.*Could not set up"):
            launch.launch(folder, bare, bound=True)


def test_what_qemu_says_when_it_does_not_start(folder: Path, bare: Command) -> None:
    with pytest.raises(VlabError, match=r"status 1: .*no-such-device"):
        launch.launch(
            folder, lambda port, _: [*bare(port), "-device", "no-such-device"], bound=True
        )


def test_a_machine_quits_when_it_is_asked(
    tmp_path: Path, bare: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VLAB_CACHE", str(tmp_path))
    lab = registry.enter("lab", Image(tmp_path), Settings(), "tcg")
    child, port = launch.launch(lab.folder, bare, bound=False)
    process = Process.of(child.pid)
    lab = registry.update(lab, child=child, process=process, port=port, ready=True)
    assert machine.find() == [lab]
    machine.stop(lab)
    assert child.returncode == 0, "it quit; a signal would show"
    assert not lab.folder.exists()
    with pytest.raises(qmp.Silent):
        qmp.ask(lab.folder, "query-status")


OWNER = """
import sys
from pathlib import Path
from vlab import launch
child, _ = launch.launch(Path(sys.argv[1]), lambda port, sockets: sys.argv[2:], bound=True)
print(child.pid, flush=True)
sys.stdin.read()
"""


def test_a_bound_machine_dies_with_its_owner(folder: Path, bare: Command) -> None:
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER, str(folder), *bare(launch.free_port())],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with owner:
        assert owner.stdout is not None
        emulator = Process.of(int(owner.stdout.readline()))
        assert emulator.alive()
        owner.kill()
        assert emulator.wait(20)
