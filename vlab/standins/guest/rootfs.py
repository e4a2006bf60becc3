"""The guest's root file system: thinned, then packed into images that have hardly any room."""

import shutil
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

from vlab.build import Build

# Debian calls these essential; a guest that gets its packages by dnf has no use for them. tar is
# among them because the guide has dnf bring it.
DROPPED_PACKAGES = (
    "perl-base",
    "dpkg",
    "tar",
    "tzdata",
    "debconf",
    "init-system-helpers",
    "diffutils",
    "ncurses-bin",
    "libsqlite3-0",
    "libdb5.3t64",
)
DROPPED_PATHS = (
    "usr/share/doc",
    "usr/share/man",
    "usr/share/locale",
    "usr/share/info",
    "usr/share/perl5",
    "usr/share/bash-completion",
    "usr/share/lintian",
    "usr/lib/*-linux-gnu/gconv",
    "usr/lib/python3.13/idlelib",
    "usr/lib/python3.13/lib2to3",
    "usr/lib/python3.13/tkinter",
    "usr/lib/python3.13/turtledemo",
    "usr/lib/python3.13/unittest",
    "usr/lib/python3.13/pydoc_data",
    "usr/lib/python3.13/sqlite3",
    "usr/lib/python3.13/wsgiref",
    "usr/lib/python3.13/xmlrpc",
    "var/lib/dpkg",
    "var/lib/apt",
    "var/cache/apt",
    "var/cache/debconf",
    "etc/apt",
    # What mmdebstrap copied from the machine that builds.
    "etc/resolv.conf",
    "etc/hostname",
)
SLACK_BYTES = 8 << 20  # room for logs and mount points; a driver and a compiler do not fit
PARTITION_START = 3 << 20
_TAIL = 1 << 20
_CHUNK = 1 << 16


def thin(tree: Path) -> None:
    """Take out of a fresh tree what the guest never uses."""
    for package in DROPPED_PACKAGES:
        for path in _files_of(tree, package):
            if path.is_symlink() or path.is_file():
                path.unlink()
    for path in (found for pattern in DROPPED_PATHS for found in tree.glob(pattern)):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    (tree / "etc/resolv.conf").touch()


def _files_of(tree: Path, package: str) -> Iterator[Path]:
    info = tree / "var/lib/dpkg/info"
    for listing in (*info.glob(f"{package}.list"), *info.glob(f"{package}:*.list")):
        for line in listing.read_text(encoding="utf-8").splitlines():
            yield tree / line.lstrip("/")


def pack(build: Build, image: Path) -> None:
    """Write the guest's tree into a bare ext4 image with little more room than it needs."""
    image.unlink(missing_ok=True)
    build.run(
        *("mke2fs", "-q", "-t", "ext4", "-L", "kata-rootfs", "-m", "0", "-J", "size=4"),
        *("-E", "lazy_itable_init=0", "-d", build.guest, image, "1G"),
    )
    # resize2fs knows what is needed; a guess from the files' sizes is wrong by the metadata.
    build.run("resize2fs", "-M", image)
    size = (image.stat().st_size + SLACK_BYTES) >> 10
    build.run("resize2fs", image, f"{size}K")
    build.run("e2fsck", "-f", "-n", image)


def pack_partitioned(bare: Path, image: Path) -> None:
    """Write the same file system into the one partition of an image, as kata 3's builder does.

    That is an MBR with one Linux partition 3 MiB from the start and a free mebibyte at the end
    (kata-containers, tools/osbuilder/image-builder/image_builder.sh). Not here: the DAX header and
    second MBR in the first 3 MiB, for machines with an NVDIMM, and the size rounded up to 128 MiB,
    which would leave the driver room.
    """
    size = bare.stat().st_size
    with bare.open("rb") as source, image.open("wb") as target:
        target.write(master_boot_record(PARTITION_START, size))
        for at in range(0, size, _CHUNK):
            chunk = source.read(_CHUNK)
            if chunk != bytes(len(chunk)):  # zeros stay a hole
                target.seek(PARTITION_START + at)
                target.write(chunk)
        target.truncate(PARTITION_START + size + _TAIL)


def master_boot_record(start: int, size: int) -> bytes:
    """A partition table with one Linux partition; both in bytes, of whole sectors."""
    # Status, first sector in the old form ("beyond it"), type 83, last sector, start, length.
    entry = struct.pack(
        "<B3sB3sII", 0, b"\xfe\xff\xff", 0x83, b"\xfe\xff\xff", start // 512, size // 512
    )
    identity = struct.pack("<I", zlib.crc32(entry))
    return bytes(440) + identity + bytes(2) + entry + bytes(48) + b"\x55\xaa"
