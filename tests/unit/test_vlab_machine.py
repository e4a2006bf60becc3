"""Machines as processes with an owner: swept, used, ended; with real processes, without a VM."""

from __future__ import annotations

import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.unit.labs import entered
from tests.unit.patience import PATIENCE
from vlab import boot, launch, machine, preflight, registry
from vlab.errors import VlabError
from vlab.image import Image
from vlab.process import Process
from vlab.qemu import CONSOLE, Settings
from vlab.registry import Life

pytestmark = pytest.mark.usefixtures("cache")


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of our own."""
    monkeypatch.setenv("VLAB_CACHE", str(tmp_path / "a cache"))
    return tmp_path / "a cache"


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    """A process that ends when it is told to."""
    with subprocess.Popen(["sleep", "600"]) as process:
        yield process
        process.kill()


@pytest.fixture
def dead() -> Process:
    """A process that was killed, and whose parent has not asked yet: as a killed pytest's is."""
    process = subprocess.Popen(["sleep", "600"])
    identity = Process.of(process.pid)
    process.kill()
    process.wait()
    return identity


def test_a_process_is_told_from_a_later_one_with_its_number(
    sleeper: subprocess.Popen[bytes],
) -> None:
    process = Process.of(sleeper.pid)
    other = Process(sleeper.pid, process.start + 1)
    assert process.alive()
    assert not other.alive()
    other.signal(signal.SIGKILL)
    assert sleeper.poll() is None
    process.signal(signal.SIGKILL)
    assert process.wait(PATIENCE)
    assert not process.alive(), "it has ended, though its parent has not asked yet"


def test_a_panic_is_named_with_the_console(dead: Process) -> None:
    lab = entered(process=dead, owner=None)
    lab.console.write_text("...\n[ 9.1] Kernel panic - not syncing: sysrq triggered crash\n[ 9.2]")
    why = boot.why_ended(lab)
    assert why is not None
    assert "kernel panic: Kernel panic - not syncing: sysrq triggered crash;" in why
    assert str(lab.console) in why


def test_a_killed_emulator_is_named() -> None:
    with subprocess.Popen(["sleep", "600"]) as child:
        lab = replace(entered(process=Process.of(child.pid)), child=child)
        assert boot.why_ended(lab) is None, "as long as it runs"
        child.kill()
        assert "SIGKILL" in (boot.why_ended(lab, 20) or "")


def test_a_panic_while_it_boots_is_told_at_once(dead: Process) -> None:
    lab = entered(process=dead, port=launch.free_port())
    lab.console.write_text(
        "Begin: mounting\nKernel panic - not syncing: VFS: Unable to mount root\n"
    )
    with pytest.raises(VlabError) as error:
        boot.wait(lab)
    assert "ended: kernel panic: Kernel panic - not syncing: VFS" in str(error.value)
    assert "said last:\nBegin: mounting" in str(error.value)


EMULATOR = """#!/bin/sh
case "$*" in *qemu-img*) exit 0 ;; esac
for word; do case $word in file:*) echo 'SeaBIOS' > "${word#file:}" ;; esac; done
echo "cannot set up guest memory 'pc.ram': Cannot allocate memory" >&2; exit 1
"""


def test_an_emulator_that_does_not_start_leaves_its_words_and_nothing_else(
    cache: Path, tmp_path: Path
) -> None:
    loader = tmp_path / "image" / "emulator" / "ld.so"
    loader.parent.mkdir(parents=True)
    loader.write_text(EMULATOR)
    loader.chmod(0o755)
    (tmp_path / "image" / "host_key.pub").write_text("ssh-ed25519 AAAA\n")
    settings = Settings(accel="tcg", memory=1, gpus=0)
    with pytest.raises(VlabError, match="Cannot allocate memory") as error:
        machine.start(Image(tmp_path / "image"), settings, print, life=Life.BOUND)
    (kept,) = (cache / "consoles").iterdir()
    assert str(kept) in str(error.value)
    assert kept.read_text() == "SeaBIOS\n"
    assert list(machine.machines_root().glob("[!.]*")) == []


def test_a_disk_that_is_full_is_not_taken_for_a_name_that_is() -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, before[1]))  # no file may grow
    try:
        with pytest.raises(VlabError) as error:
            registry.enter("lab-x", Image(Path("recipe")), Settings(), "tcg")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert "File too large" in str(error.value)
    assert "VLAB_CACHE" in str(error.value)


def test_two_labs_of_one_name() -> None:
    entered(name="mine")
    with pytest.raises(VlabError, match="'mine' is there already"):
        entered(name="mine")
    with pytest.raises(VlabError, match="no name for a lab"):
        entered(name="../mine")


USER = """
import sys
from vlab import registry
(lab,) = registry.entries()
with registry.used(lab, "a neighbour"):
    print("in", flush=True)
    sys.stdin.read()
"""


def test_a_lab_has_one_user_until_that_one_is_killed() -> None:
    lab = entered()
    assert registry.user_of(lab) is None
    with subprocess.Popen(
        [sys.executable, "-c", USER], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as user:
        assert user.stdout is not None
        assert user.stdout.readline() == b"in\n"
        assert registry.user_of(lab) == "a neighbour"
        with pytest.raises(registry.InUse, match="a neighbour"), registry.used(lab, "me"):
            pass
        user.kill()
        user.wait()
    with registry.used(lab, "me"):
        assert registry.user_of(lab) == "me"


@pytest.mark.parametrize(
    ("wanted", "fits"),
    [
        (Settings(), True),
        (Settings(accel="tcg"), True),
        (Settings(accel="kvm"), False),
        (Settings(gpus=2), False),
        (Settings(multifunction=True), False),
    ],
)
def test_a_run_takes_a_lab_of_its_own_settings_only(wanted: Settings, fits: bool) -> None:
    lab = entered(owner=None)
    assert registry.fits(lab, "recipe", wanted) is fits
    assert not registry.fits(lab, "another recipe", wanted)
    assert not registry.fits(entered(name="owned"), "recipe", wanted)


def test_the_console_goes_where_the_run_wants_it(tmp_path: Path) -> None:
    lab = entered()
    evidence = tmp_path / "evidence" / "lab-console.log"
    machine._console(lab, evidence)
    (lab.folder / CONSOLE).write_text("said")
    machine.stop(lab)
    assert evidence.read_text() == "said"


def test_too_little_memory_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preflight, "available_memory", lambda: 4000)
    with pytest.raises(VlabError, match=r"needs 5888 MiB .* 4000 MiB are available"):
        preflight.check(Settings())
    preflight.check(Settings(memory=3072))


def test_too_little_disk_is_one_sentence(monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    monkeypatch.setattr(preflight, "free_disk", lambda: 2000)
    with pytest.raises(VlabError, match=rf"2560 MiB .* {cache}, and 2000 MiB are free"):
        preflight.check(Settings())


def test_five_gpus_are_too_many() -> None:
    with pytest.raises(VlabError, match="0 to 4 GPUs, not 5"):
        preflight.check(Settings(gpus=5))
