"""The mounts of the guest and those of a container, from its OCI specification."""

import contextlib
import os
import stat
from typing import Any

from . import syscalls

# Option words of fstab(5) that are flags: (bits to set, bits to clear). The rest is data.
_FLAGS: dict[str, tuple[int, int]] = {
    "ro": (syscalls.MS_RDONLY, 0),
    "rw": (0, syscalls.MS_RDONLY),
    "nosuid": (2, 0),
    "suid": (0, 2),
    "nodev": (4, 0),
    "dev": (0, 4),
    "noexec": (8, 0),
    "exec": (0, 8),
    "sync": (16, 0),
    "dirsync": (128, 0),
    "noatime": (1024, 0),
    "nodiratime": (2048, 0),
    "relatime": (1 << 21, 0),
    "strictatime": (1 << 24, 0),
    "bind": (syscalls.MS_BIND, 0),
    "rbind": (syscalls.MS_BIND | syscalls.MS_REC, 0),
}
_PROPAGATION = {"private", "rprivate", "slave", "rslave", "shared", "rshared", "unbindable"}

_SYSTEM = (
    ("proc", "/proc", "proc", ""),
    ("sysfs", "/sys", "sysfs", ""),
    ("devtmpfs", "/dev", "devtmpfs", ""),
    ("devpts", "/dev/pts", "devpts", "mode=620,ptmxmode=666"),
    ("tmpfs", "/dev/shm", "tmpfs", ""),
    ("tmpfs", "/run", "tmpfs", "mode=755"),
    ("tmpfs", "/tmp", "tmpfs", "mode=1777"),
    ("cgroup2", "/sys/fs/cgroup", "cgroup2", ""),
)

# Nodes that every container has (OCI runtime specification, default devices).
_NODES = {"null": (1, 3), "zero": (1, 5), "full": (1, 7), "random": (1, 8), "urandom": (1, 9)}
_NODES["tty"] = (5, 0)
_LINKS = {"fd": "/proc/self/fd", "stdin": "/proc/self/fd/0", "stdout": "/proc/self/fd/1"}
_LINKS |= {"stderr": "/proc/self/fd/2", "ptmx": "pts/ptmx"}


def mount_system() -> None:
    """The guest's own /proc, /sys, /dev, /run; whatever the initrd has mounted already stays."""
    for source, target, kind, data in _SYSTEM:
        if not os.path.ismount(target):
            with contextlib.suppress(FileExistsError):
                os.mkdir(target)
            syscalls.mount(source, target, kind, 0, data)


def parse_options(options: list[str]) -> tuple[int, str]:
    """Flags and data of mount(2) for a list of option words; propagation words are left out."""
    flags, data = 0, []
    for word in options:
        if word in _FLAGS:
            on, off = _FLAGS[word]
            flags = (flags | on) & ~off
        elif word not in _PROPAGATION:
            data.append(word)
    return flags, ",".join(data)


def within(root: str, path: str) -> str:
    """A path of the container below ``root``; a symbolic link on the way is taken in the root.

    A container's image may hold ``/var/run -> /run`` or worse, ``/dev -> /``: followed blindly,
    such links lead out of the root.
    """
    real = root
    parts = [part for part in path.split("/") if part not in ("", ".")]
    hops = 0
    while parts:
        part = parts.pop(0)
        if part == "..":
            real = real if real == root else os.path.dirname(real)
            continue
        step = f"{real}/{part}"
        if os.path.islink(step):
            hops += 1
            if hops > 40:
                raise OSError(f"too many symbolic links in '{path}'")
            link = os.readlink(step)
            parts = [word for word in link.split("/") if word not in ("", ".")] + parts
            real = root if link.startswith("/") else real
        else:
            real = step
    return real


def prepare(root: str, spec: dict[str, Any]) -> None:
    """Everything that the specification mounts, below ``root``, in this mount namespace."""
    syscalls.mount("none", "/", "", syscalls.MS_REC | syscalls.MS_SLAVE)
    for entry in spec.get("mounts", []):
        _mount(root, entry)
    _devices(root, spec.get("linux", {}).get("devices", []))


def _mount(root: str, entry: dict[str, Any]) -> None:
    target = within(root, entry["destination"])
    kind, source = entry.get("type", "none"), entry.get("source", "none")
    flags, data = parse_options(entry.get("options", []))
    if flags & syscalls.MS_BIND or kind == "bind":
        _make_target(target, is_folder=os.path.isdir(source))
        syscalls.mount(source, target, "", syscalls.MS_BIND | flags & syscalls.MS_REC)
        extra = flags & ~(syscalls.MS_BIND | syscalls.MS_REC)
        if extra:
            syscalls.mount("none", target, "", syscalls.MS_REMOUNT | syscalls.MS_BIND | extra)
        return
    if kind == "cgroup":  # the guest has version 2 only
        kind, data = "cgroup2", ""
    _make_target(target, is_folder=True)
    syscalls.mount(source, target, kind, flags, data)


def _make_target(target: str, *, is_folder: bool) -> None:
    if os.path.lexists(target):
        return
    os.makedirs(target if is_folder else os.path.dirname(target), exist_ok=True)
    if not is_folder:
        os.close(os.open(target, os.O_CREAT | os.O_WRONLY, 0o644))


def _devices(root: str, devices: list[dict[str, Any]]) -> None:
    folder = within(root, "/dev")
    nodes = [(f"{folder}/{name}", 0o666, number) for name, number in _NODES.items()]
    for device in devices:
        # A VFIO node names a group of the host; here the device itself is on the bus.
        if device.get("type") in ("c", "u") and not device["path"].startswith("/dev/vfio"):
            number = (device["major"], device["minor"])
            nodes.append((within(root, device["path"]), device.get("fileMode", 0o666), number))
    for path, mode, number in nodes:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        if not os.path.lexists(path):
            os.mknod(path, stat.S_IFCHR, os.makedev(*number))
            os.chmod(path, mode & 0o777)
    for name, link in _LINKS.items():
        if not os.path.lexists(f"{folder}/{name}"):
            os.symlink(link, f"{folder}/{name}")


def restrict(spec: dict[str, Any]) -> None:
    """Read-only and masked paths, and a read-only root, once the root is the container's."""
    linux = spec.get("linux", {})
    for path in linux.get("readonlyPaths", []):
        if os.path.exists(path):
            syscalls.mount(path, path, "", syscalls.MS_BIND | syscalls.MS_REC)
            _make_readonly(path)
    for path in linux.get("maskedPaths", []):
        if os.path.isdir(path):
            syscalls.mount("tmpfs", path, "tmpfs", syscalls.MS_RDONLY)
        elif os.path.exists(path):
            syscalls.mount("/dev/null", path, "", syscalls.MS_BIND)
    if spec.get("root", {}).get("readonly"):
        _make_readonly("/")


def _make_readonly(path: str) -> None:
    # A bind mount inherits nosuid, nodev and noexec; a remount that omits them is refused only in
    # a user namespace, but it would drop them here.
    kept = os.statvfs(path).f_flag & (2 | 4 | 8)
    flags = syscalls.MS_REMOUNT | syscalls.MS_BIND | syscalls.MS_RDONLY | kept
    syscalls.mount("none", path, "", flags)
