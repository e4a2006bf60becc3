"""A cpio archive (format newc) such as the kernel unpacks at boot, written without tools."""

import os
import stat
from pathlib import Path

_BLOCK = 512


def archive(tree: Path, devices: dict[str, tuple[int, int]]) -> bytes:
    """Pack a tree, owned by root, with character devices ``path: (major, minor)`` added."""
    entries = bytearray()
    inode = 1
    for path in sorted(tree.rglob("*")):
        about = path.lstat()
        data = b""
        if stat.S_ISLNK(about.st_mode):
            data = os.fsencode(os.readlink(path))
        elif stat.S_ISREG(about.st_mode):
            data = path.read_bytes()
        entries += _entry(inode, str(path.relative_to(tree)), about.st_mode, data)
        inode += 1
    for name, device in devices.items():
        entries += _entry(inode, name, stat.S_IFCHR | 0o600, b"", device)
        inode += 1
    entries += _entry(0, "TRAILER!!!", 0, b"")
    entries += bytes(-len(entries) % _BLOCK)
    return bytes(entries)


def _entry(
    inode: int, name: str, mode: int, data: bytes, device: tuple[int, int] = (0, 0)
) -> bytes:
    encoded = os.fsencode(name) + b"\0"
    fields = (
        *(inode, mode, 0, 0, 1, 0, len(data)),  # uid and gid 0, one link, no time
        *(0, 0, *device, len(encoded), 0),
    )
    head = b"070701" + b"".join(b"%08X" % field for field in fields) + encoded
    return head + bytes(-len(head) % 4) + data + bytes(-len(data) % 4)
