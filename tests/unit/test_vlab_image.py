"""The image cache, without building an image."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from vlab import image, machine, qemu
from vlab.build import Build
from vlab.errors import VlabError
from vlab.image import Image


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of our own, and a builder who is root."""
    monkeypatch.setenv("VLAB_CACHE", str(tmp_path / "a cache"))
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    return tmp_path / "a cache"


def test_an_image_is_built_once(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    built = []

    def build(_: Build, folder: Path) -> None:
        built.append(folder)
        (folder / "lab.img").touch()

    monkeypatch.setattr(image, "_build", build)
    first, second = image.ensure(print), image.ensure(print)
    assert first == second
    assert first.disk.exists()
    assert len(built) == 1


@pytest.mark.parametrize("error", [VlabError("no space left"), KeyboardInterrupt()])
def test_a_build_that_ends_early_leaves_nothing_to_take_for_an_image(
    cache: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    def build(_: Build, folder: Path) -> None:
        (folder / "lab.img").touch()
        raise error

    monkeypatch.setattr(image, "_build", build)
    with pytest.raises(type(error)):
        image.ensure(print)
    assert [path.name for path in cache.iterdir() if path.is_dir()] == []


def test_only_root_builds(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(VlabError, match="needs root"):
        image.ensure(print)


def test_each_gpu_is_a_device_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "key.pub").write_text("ssh-ed25519 AAAA vlab\n")
    settings = qemu.Settings(gpus=2)
    line = qemu.command_line(Image(tmp_path), settings, "tcg", tmp_path, 2222)
    assert len([word for word in line if word.startswith("edu,")]) == 2
    assert "intel-iommu" in " ".join(line)


def test_the_lab_reaches_nobody(tmp_path: Path) -> None:
    (tmp_path / "key.pub").write_text("ssh-ed25519 AAAA vlab\n")
    line = qemu.command_line(Image(tmp_path), qemu.Settings(), "tcg", tmp_path, 2222)
    (net,) = [word for word in line if word.startswith("user,")]
    assert "restrict=on" in net
    assert "hostfwd=tcp:127.0.0.1:2222-:22" in net


def test_files_of_a_dead_machine_are_swept(cache: Path) -> None:
    dead = machine.machines_root() / "lab-1-dead"
    dead.mkdir(parents=True)
    (dead / "pid").write_text("4194999")
    (dead / "port").write_text("1")
    assert machine.find() == []
    assert not dead.exists()
