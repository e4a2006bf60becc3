"""QEMU's command line."""

from __future__ import annotations

from pathlib import Path

import pytest

from vlab import qemu
from vlab.image import Image
from vlab.qemu import Settings
from vlab.standins.kata.runtime import release


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A machine's folder, deeper than the path of a socket may be."""
    deep = tmp_path / ("deep" * 25)
    deep.mkdir()
    (deep / "key.pub").write_text("ssh-ed25519 AAAA vlab\n")
    return deep


def test_each_gpu_is_a_device_of_its_own_with_its_process(folder: Path) -> None:
    line = qemu.command_line(Image(folder), Settings(gpus=2), "tcg", folder, 2222, [7, 8])
    gpus = [word for word in line if word.startswith("virtio-serial-pci,")]
    assert len(gpus) == 2
    for gpu, descriptor, port in zip(gpus, (7, 8), ("port0", "port1"), strict=True):
        assert "iommu_platform=on" in gpu, "its DMA goes through the IOMMU"
        assert f"bus={port}," in gpu, "behind a root port it is PCI Express"
        assert any(f"fd={descriptor}" in word for word in line)
    names = [word.rpartition("name=")[2] for word in line if word.startswith("virtserialport,")]
    assert len(set(names)) == 2, "QEMU refuses two ports of one name"
    assert "intel-iommu" in " ".join(line)


def test_the_lab_is_told_which_kata_its_standin_behaves_as(folder: Path, tmp_path: Path) -> None:
    settings = Settings(kata_release="3.15.0")
    line = qemu.command_line(Image(folder), settings, "tcg", folder, 2222, [7])
    (tmp_path / "cmdline").write_text(line[line.index("-append") + 1], "ascii")
    assert release.of_host(str(tmp_path / "cmdline")).name == "3.15.0"


def test_a_multifunction_gpu_has_an_audio_device_behind_its_own_port() -> None:
    words = qemu.gpus(Settings(gpus=2, multifunction=True), [7, 8])
    for number in (0, 1):
        functions = [word for word in words if f"bus=port{number}," in word]
        assert [word.partition(",")[0] for word in functions] == [
            "virtio-serial-pci",
            "ich9-intel-hda",
        ]
        assert "multifunction=on" in functions[0]
    assert len([word for word in words if word.startswith("ioh3420,id=port")]) == 2


def test_the_lab_reaches_nobody(folder: Path) -> None:
    line = qemu.command_line(Image(folder), Settings(), "tcg", folder, 2222, [7])
    (net,) = [word for word in line if word.startswith("user,")]
    assert "restrict=on" in net
    assert "hostfwd=tcp:127.0.0.1:2222-:22" in net
