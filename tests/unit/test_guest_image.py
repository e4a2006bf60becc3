"""Where a guest image's file system lies, on real images."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from fixtures.rootfs import contents, image_file
from fixtures.rootfs.image_file import Layout, Partition, Table
from harness.errors import LabError
from harness.host.host import Host

MIB = 1 << 20


def ext4(path: Path, at: int = 0, size: int = 8 * MIB) -> None:
    """A small ext4 file system in a file, `at` bytes from its beginning."""
    with path.open("ab") as file:
        file.truncate(at + size)
    words = ["mke2fs", "-q", "-t", "ext4", "-E", f"offset={at}", str(path), f"{size >> 10}K"]
    subprocess.run(words, check=True, capture_output=True, env={"PATH": "/usr/sbin:/sbin"})


@pytest.fixture
def tools(monkeypatch: pytest.MonkeyPatch) -> None:
    """An ordinary user's PATH may lack the folder that e2fsprogs is in."""
    monkeypatch.setenv("PATH", "/usr/sbin:/sbin:/usr/bin:/bin")


@pytest.mark.case(
    "guest image",
    "an image without a partition table",
    source="the guide; kata-containers, osbuilder",
)
def test_a_bare_image(local: Host, tmp_path: Path) -> None:
    image = tmp_path / "rootfs.img"
    ext4(image)
    found = image_file.layout(local, str(image))
    assert found == Layout(str(image))
    assert (found.file_system, found.mount_option) == (str(image), "loop")


@pytest.mark.case(
    "guest image",
    "an image with its root at 3 MiB",
    source="kata-containers, osbuilder, image_builder.sh",
)
def test_a_partition_is_named_by_its_offset(local: Host, tmp_path: Path, tools: None) -> None:
    image = tmp_path / "rootfs.img"
    ext4(image, at=3 * MIB)
    table = Table(label="gpt", partitions=(Partition(start=6144, size=16384),))
    (found,) = image_file.partitions(str(image), table)
    assert found.mount_option == f"loop,offset={3 * MIB},sizelimit={8 * MIB}"
    image_file.check(local, found)
    assert contents.file_system_size(local, found) == 8 * MIB


def test_the_sector_size_of_the_table_counts() -> None:
    parts = (Partition(start=1, size=2), Partition(start=3, size=4))
    table = Table(label="dos", sectorsize=4096, partitions=parts)
    found = image_file.partitions("i", table)
    assert [(p.partition, p.offset, p.size) for p in found] == [(1, 4096, 8192), (2, 12288, 16384)]


def test_damage_that_stays_is_an_error(local: Host, tmp_path: Path, tools: None) -> None:
    image = tmp_path / "rootfs.img"
    image.write_bytes(bytes(4 * MIB))
    with pytest.raises(LabError, match=r"'e2fsck -fy' ended with 8") as caught:
        image_file.check(local, Layout(str(image)))
    assert caught.value.clause == "rootfs.resize"


def test_an_image_that_is_not_there_is_told(local: Host, tmp_path: Path) -> None:
    with pytest.raises(LabError, match="there is no guest image"):
        image_file.layout(local, str(tmp_path / "none.img"))
