"""The guest's kernel modules and its initrd, as far as they can be tried without a kernel."""

import io
import stat
import struct
import subprocess
from pathlib import Path

import pytest

from vlab.errors import VlabError
from vlab.standins.guest import cpio, kernel, rootfs


def test_module_closure_is_in_loading_order(tmp_path: Path) -> None:
    (tmp_path / "modules.builtin").write_text("kernel/fs/ext4/ext4.ko\n")
    (tmp_path / "modules.dep").write_text(
        "kernel/net/vsock.ko.xz:\n"
        "kernel/net/common.ko.xz: kernel/net/vsock.ko.xz\n"
        "kernel/net/virtio-transport.ko.xz: kernel/net/common.ko.xz kernel/net/vsock.ko.xz\n"
    )
    assert kernel.closure(tmp_path, ["ext4", "virtio_transport"]) == [
        "kernel/net/vsock.ko.xz",
        "kernel/net/common.ko.xz",
        "kernel/net/virtio-transport.ko.xz",
    ]
    with pytest.raises(VlabError, match="has no module '9p'"):
        kernel.closure(tmp_path, ["9p"])


def _members(archive: bytes) -> dict[str, tuple[int, bytes]]:
    out: dict[str, tuple[int, bytes]] = {}
    stream = io.BytesIO(archive)
    while True:
        head = stream.read(110)
        assert head[:6] == b"070701"
        fields = [int(head[6 + 8 * n : 14 + 8 * n], 16) for n in range(13)]
        name = stream.read(fields[11])[:-1].decode()
        stream.read(-stream.tell() % 4)
        data = stream.read(fields[6])
        stream.read(-stream.tell() % 4)
        if name == "TRAILER!!!":
            return out
        out[name] = (fields[1], data)


def test_initrd_archive_has_files_links_and_devices(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/busybox").write_bytes(b"12345")
    (tmp_path / "bin/busybox").chmod(0o755)
    (tmp_path / "bin/sh").symlink_to("busybox")
    members = _members(cpio.archive(tmp_path, {"dev/console": (5, 1)}))
    assert members["bin/busybox"] == (stat.S_IFREG | 0o755, b"12345")
    assert members["bin/sh"][1] == b"busybox"
    assert stat.S_ISCHR(members["dev/console"][0])
    assert list(members).index("bin") < list(members).index("bin/busybox")


def test_partitioned_image_has_the_same_file_system_in_its_partition(tmp_path: Path) -> None:
    bare, image = tmp_path / "rootfs.img", tmp_path / "rootfs-partitioned.img"
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree/file").write_text("content\n")
    make = ["mke2fs", "-q", "-t", "ext4", "-d", str(tmp_path / "tree"), str(bare), "8M"]
    subprocess.run(make, check=True, env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"})
    rootfs.pack_partitioned(bare, image)
    data = image.read_bytes()
    assert data[510:512] == b"\x55\xaa"
    kind, start, length = struct.unpack_from("<B3xII", data, 446 + 4)
    assert (kind, start * 512, length * 512) == (0x83, 3 << 20, 8 << 20)
    assert data[462:510] == bytes(48), "one partition only"
    assert data[start * 512 :][: length * 512] == bare.read_bytes()
    assert len(data) == (3 + 8 + 1) << 20
    assert data[1080:1082] != b"\x53\xef", "it would be taken for a bare image"
    assert image.stat().st_blocks <= bare.stat().st_blocks + 256, "holes were filled"
