"""What becomes of labs whose owner, emulator or computer is gone; with real processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.labs import emulated, entered
from tests.unit.mini import ROOT
from tests.unit.patience import PATIENCE
from vlab import hold, machine, namespace, registry
from vlab.errors import VlabError
from vlab.process import Process
from vlab.qemu import CONSOLE
from vlab.registry import Life

pytestmark = pytest.mark.usefixtures("cache")


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of our own."""
    monkeypatch.setenv("VLAB_CACHE", str(tmp_path / "a cache"))
    return tmp_path / "a cache"


def starter(life: Life, end: str) -> Process | None:
    """Have a process start a lab; its emulator, if it came to that."""
    words = [sys.executable, "-m", "tests.sample.lab_starter", life.name, end]
    pid = subprocess.run(words, cwd=ROOT, stdout=subprocess.PIPE, text=True).stdout
    return Process.of(int(pid)) if pid else None


@pytest.mark.parametrize("end", ["entered", "launched", "up"])
def test_what_a_killed_starter_left_is_ended_and_swept(cache: Path, end: str) -> None:
    emulator = starter(Life.OWNED, end)
    assert (emulator is None) == (end == "entered")
    said: list[str] = []
    assert machine.find(said.append) == []
    assert emulator is None or emulator.wait(PATIENCE)
    assert registry.folders() == []
    assert "the process that started it is gone" in said[0]
    assert (cache / "consoles" / "lab-x.log").read_text() == "Debian\n"


def test_a_lab_that_stays_has_no_owner_and_outlives_its_starter() -> None:
    emulator = starter(Life.FREE, "exit")
    assert emulator is not None
    (lab,) = machine.find()
    assert lab.owner is None
    machine.stop(lab)
    assert emulator.wait(PATIENCE)
    assert registry.folders() == []


def test_a_start_under_way_is_neither_swept_nor_shown() -> None:
    lab = entered(ready=False)
    assert machine.find() == []
    assert lab.folder.exists()


def test_a_lab_that_died_is_swept_with_its_reason_once_nobody_uses_it(cache: Path) -> None:
    lab = entered(owner=None)
    lab.console.write_text("Kernel panic - not syncing: Attempted to kill init!\n")
    with registry.used(lab, "a run"):
        assert machine.find() == []
        assert lab.folder.exists(), "its user is still to look at it"
    said: list[str] = []
    assert machine.find(said.append) == []
    assert "Attempted to kill init!" in said[0]
    assert str(cache / "consoles" / "lab-x.log") in said[0]
    assert not lab.folder.exists()


@pytest.mark.parametrize("owner", [None, Process(1, 1)])
def test_a_lab_of_another_computer_is_left_alone_as_long_as_it_runs(owner: Process | None) -> None:
    with emulated(entered(home="another boot, another namespace")) as lab:
        registry.update(lab, owner=owner)
        registry._disown(lab.folder)  # as the kernel does when the owner has ended
        assert machine.find() == []
        assert lab.folder.exists()
        assert lab.child is not None
        assert lab.child.poll() is None
        lab.child.kill()
        lab.child.wait()
        assert machine.find() == []
        assert not lab.folder.exists()


def test_a_lab_is_not_swept_from_another_pid_namespace() -> None:
    look = "from vlab import machine; print(machine.find(print))"
    try:
        program = namespace.entered(sys.executable, "-c", look)
    except VlabError as error:
        pytest.skip(str(error))
    if "unshare" not in program:
        pytest.skip("root without the right to make namespaces, as in a container")
    with emulated(entered(owner=None)) as stays, emulated(entered(name="lab-owned")) as owned:
        done = subprocess.run(program, capture_output=True, text=True)
        assert done.stdout == "[]\n", done.stderr
        assert machine.find() == [stays, owned]


def test_a_state_with_more_in_it_than_we_know_is_read() -> None:
    with emulated(entered(owner=None)) as lab:
        state = lab.folder / registry.STATE
        state.write_text(json.dumps({**json.loads(state.read_text()), "colour": "red"}))
        assert machine.find() == [lab]


def test_a_folder_that_is_not_ours_is_left_alone_and_shown(cache: Path) -> None:
    folder = cache / "machines" / "lab-old"
    folder.mkdir(parents=True)
    (folder / registry.STATE).write_text('{"version": 99}')
    said: list[str] = []
    assert machine.find(said.append) == []
    assert f"{folder} is no lab that this version knows" in said[0]
    assert "remove the folder" in said[0]
    assert folder.exists()


def test_a_lab_whose_state_is_damaged_is_swept_when_nothing_of_it_runs() -> None:
    said: list[str] = []
    with emulated(entered()) as lab:
        (lab.folder / registry.STATE).write_text("{")
        machine.find(said.append)
        assert "is no lab that this version knows" in said[0]
    registry._disown(lab.folder)
    machine.find(said.append)
    assert "swept away" in said[1]
    assert not lab.folder.exists()


def test_a_console_that_cannot_be_kept_keeps_nobody_from_being_swept(cache: Path) -> None:
    lab = entered(owner=None)
    lab.console.write_text("Debian\n")
    (cache / "consoles").write_text("not a folder")
    said: list[str] = []
    assert machine.find(said.append) == []
    assert "console: it could not be kept: " in said[0]
    assert not lab.folder.exists()


def test_a_number_of_consoles_is_kept(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "KEPT_CONSOLES", 2)
    for number in range(3):
        lab = entered(name=f"lab-{number}", owner=None)
        lab.console.write_text("Debian\n")
        os.utime(lab.console, (number, number))
        machine.find()
    assert sorted(path.name for path in (cache / "consoles").iterdir()) == [
        "lab-1.log",
        "lab-2.log",
    ]


def test_litter_of_killed_processes_is_swept(cache: Path) -> None:
    for name in (".new-abc", ".gone-lab-abc"):
        (cache / "machines" / name).mkdir(parents=True)
    machine.find()
    assert [path.name for path in (cache / "machines").iterdir()] == [".lock"]


def test_an_emulator_that_ignores_sigterm_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "PATIENCE", 0.1)
    lab = entered()
    os.mkfifo(lab.folder / "deaf")
    script = f"import signal, time; signal.signal({signal.SIGTERM.value}, signal.SIG_IGN)\n"
    script += "open('deaf', 'w').close(); time.sleep(600)"
    with emulated(lab, sys.executable, "-c", script) as lab:
        (lab.folder / "deaf").read_bytes()  # returns when it does not hear any more
        machine.stop(lab)
        assert lab.child is not None
        assert lab.child.returncode == -signal.SIGKILL


def test_the_holder_of_a_lock_is_found_and_nobody_else_who_has_the_file_open() -> None:
    with emulated(entered()) as lab:
        with (lab.folder / hold.EMULATOR).open("rb"):
            assert hold.holder(lab.folder / hold.EMULATOR) == lab.process
        assert hold.holder(lab.folder / CONSOLE) is None
