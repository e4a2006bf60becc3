"""The choice of the accelerator, with a script for a QEMU: a KVM that misbehaves cannot be had."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from harness.wait import wait_for
from tests.unit.patience import PATIENCE
from vlab import accel, preflight
from vlab.errors import VlabError
from vlab.image import Image
from vlab.process import Process
from vlab.qemu import Settings

WORDS = "echo '[ 0.0] Linux version 6.12'"


@pytest.fixture(autouse=True)
def kvm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A device to be opened, and a module that nests; the folder of the module."""
    monkeypatch.setenv("VLAB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(accel, "DEVICE", tmp_path / "kvm")
    monkeypatch.setattr(accel, "MODULES", tmp_path)
    (tmp_path / "kvm").touch()
    (tmp_path / "kvm_amd/parameters").mkdir(parents=True)
    (tmp_path / "kvm_amd/parameters/nested").write_text("1\n")
    return tmp_path / "kvm_amd"


def emulator(folder: Path, script: str) -> Image:
    """An image whose emulator is a script."""
    loader = folder / "emulator" / "ld.so"
    loader.parent.mkdir(exist_ok=True)
    loader.write_text(
        f"#!/bin/sh\necho $$ > '{folder}/pid'\necho \"$*\" > '{folder}/line'\n{script}\n"
    )
    loader.chmod(0o755)
    return Image(folder)


def test_a_kernel_that_spins_for_ever_is_no_kvm_and_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    speaks = accel._speaks

    def spins(machine: subprocess.Popen[bytes], deadline: float) -> bool:
        wait_for("it runs", (tmp_path / "line").exists, PATIENCE, 0.02)
        return speaks(machine, 0.0)  # the deadline is over

    monkeypatch.setattr(accel, "_speaks", spins)
    assert not accel.kvm_runs(emulator(tmp_path, "while :; do :; done"), Settings())
    with pytest.raises(ProcessLookupError):
        Process.of(int((tmp_path / "pid").read_text()))


@pytest.mark.parametrize(
    ("script", "answer"), [(f"{WORDS}; exec sleep 600", True), ("echo 'MSR 0x345'", False)]
)
def test_a_kernels_first_words_are_kvms_answer(tmp_path: Path, script: str, answer: bool) -> None:
    assert accel.kvm_runs(emulator(tmp_path, script), Settings()) is answer


def test_it_is_tried_on_the_labs_own_board(tmp_path: Path) -> None:
    assert accel.kvm_runs(emulator(tmp_path, WORDS), Settings(cpus=3))
    line = (tmp_path / "line").read_text()
    for word in ("kernel-irqchip=split", "intel-iommu,intremap=on", "-smp 3", "-accel kvm"):
        assert word in line


def test_the_answer_is_remembered_until_it_is_asked_for_anew(tmp_path: Path) -> None:
    said: list[str] = []
    lab = emulator(tmp_path, WORDS)
    assert accel.choose(lab, Settings(), said.append) == "kvm"
    emulator(tmp_path, "exit 1")
    assert accel.choose(lab, Settings(), said.append) == "kvm"
    assert accel.why_not(lab, Settings(), said.append, anew=True)
    assert accel.choose(lab, Settings(), said.append) == "tcg"
    assert "KVM is not used: a kernel that was booted under it said nothing" in said[-1]


def test_the_answer_of_another_boot_is_none(tmp_path: Path) -> None:
    lab = emulator(tmp_path, WORDS)
    assert accel.choose(lab, Settings(), print) == "kvm"
    memory = tmp_path / "cache" / accel.MEMORY
    value = json.loads(memory.read_text())
    memory.write_text(json.dumps({**value, "key": ["another boot", *value["key"][1:]]}))
    emulator(tmp_path, "exit 1")
    assert accel.choose(lab, Settings(), print) == "tcg"
    assert [path.name for path in memory.parent.iterdir()] == [accel.MEMORY]


def test_kvm_that_was_asked_for_is_tried_too(tmp_path: Path) -> None:
    with pytest.raises(VlabError, match=r"KVM was asked for, and a kernel .* said nothing"):
        accel.choose(emulator(tmp_path, "exit 1"), Settings(accel="kvm"), print)
    assert accel.choose(emulator(tmp_path, "exit 1"), Settings(accel="tcg"), print) == "tcg"


@pytest.mark.parametrize("nested", ["0", "N", None])
def test_a_kvm_that_does_not_nest_is_not_used(
    tmp_path: Path, kvm: Path, nested: str | None
) -> None:
    if nested is None:
        (kvm / "parameters/nested").unlink()
    else:
        (kvm / "parameters/nested").write_text(f"{nested}\n")
    said: list[str] = []
    assert accel.choose(emulator(tmp_path, WORDS), Settings(), said.append) == "tcg"
    assert "it does not nest" in said[0]
    with pytest.raises(VlabError, match="KVM was asked for, and it does not nest"):
        preflight.check(Settings(accel="kvm"))


def test_without_a_device_there_is_no_kvm(tmp_path: Path) -> None:
    accel.DEVICE.unlink()
    with pytest.raises(VlabError, match=r"asked for, and there is no .*/kvm; say 'tcg' or 'auto'"):
        preflight.check(Settings(accel="kvm"))
