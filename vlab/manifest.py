"""What a finished image consists of, and whether it still does.

``manifest.json`` in the image's folder has size and digest of each file. Hashing more than a
gigabyte at every start would cost seconds, so a folder that was found sound is remembered beside
it, with the sizes and times that its files had, for this boot of the machine: what a crash or a
failing disk did to it is found after the next boot, and what anybody writes to it is found at once.
"""

import errno
import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path

NAME = "manifest.json"
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_BLOCK = 1 << 16


def write(folder: Path) -> None:
    """Write the manifest of a folder whose files are all there."""
    files = {
        str(path.relative_to(folder)): {"size": path.stat().st_size, "sha256": digest(path)}
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
    (folder / NAME).write_text(json.dumps({"files": files}, indent=1) + "\n", encoding="utf-8")


def damage(folder: Path) -> str:
    """What differs from the manifest, in words; empty for a sound folder."""
    try:
        listed = json.loads((folder / NAME).read_text(encoding="utf-8"))["files"]
    except (OSError, ValueError, KeyError) as error:
        return f"its {NAME} cannot be read: {error}"
    for name, wanted in listed.items():
        path = folder / name
        if not path.is_file():
            return f"{name} is missing"
        if (size := path.stat().st_size) != wanted["size"]:
            return f"{name} has {size} bytes, not {wanted['size']}"
        if digest(path) != wanted["sha256"]:
            return f"the content of {name} has changed"
    return ""


def remember(folder: Path) -> None:
    """Note that the folder was found sound as it is now."""
    _memory(folder).write_text(_state(folder), encoding="utf-8")


def unchanged(folder: Path) -> bool:
    """Whether the folder was found sound in this boot, and no file was touched since."""
    try:
        return _memory(folder).read_text(encoding="utf-8") == _state(folder)
    except OSError:
        return False


def forget(folder: Path) -> None:
    """Remove the note."""
    _memory(folder).unlink(missing_ok=True)


def digest(path: Path) -> str:
    """SHA-256 over a file's blocks of 64 KiB that are not all zero, each after its number.

    A disk image is mostly holes, which ``sha256sum`` would read as gigabytes of zeros. So it is
    the same for a copy of the file in which the holes were filled.
    """
    total = hashlib.sha256()
    with path.open("rb", buffering=0) as file:
        for start in _data(file.fileno()):
            file.seek(start)
            block = file.read(_BLOCK)
            if block != bytes(len(block)):
                total.update(start.to_bytes(8, "big"))
                total.update(block)
    return total.hexdigest()


def _data(file: int) -> Iterator[int]:
    """The beginnings of the blocks that are not in a hole."""
    size, at = os.fstat(file).st_size, 0
    while at < size:
        try:
            data = os.lseek(file, at, os.SEEK_DATA)
        except OSError as error:
            if error.errno != errno.ENXIO:
                raise
            return  # nothing but a hole up to the end
        end = os.lseek(file, data, os.SEEK_HOLE)
        yield from range(max(data // _BLOCK * _BLOCK, at), end, _BLOCK)
        at = -(-end // _BLOCK) * _BLOCK


def _memory(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.sound")


def _state(folder: Path) -> str:
    boot = BOOT_ID.read_text(encoding="ascii").strip()
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    stats = {str(path.relative_to(folder)): path.stat() for path in files}
    seen = {name: [about.st_size, about.st_mtime_ns] for name, about in stats.items()}
    return json.dumps({"boot": boot, "files": seen})
