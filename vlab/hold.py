"""Signs of life: a lock on a file, which the kernel lets go of when its last holder has ended.

A process's number means nothing in another PID namespace (a container that shares the cache), nor
on another computer (a home folder on NFS); a lock (flock(2)) is seen as held from everywhere.
A program inherits the lock with the descriptor, so one that knows nothing of it holds it, too.
"""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from vlab.process import Process

# In a machine's folder.
OWNER = "owner.lock"  # held by the process that the machine must not outlive
EMULATOR = "emulator.lock"  # held by QEMU


def take(path: Path) -> int:
    """Hold the lock until the descriptor that this returns, and any copy of it, is closed."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    return descriptor


def held(path: Path) -> bool:
    """Whether anybody holds the lock, wherever he runs."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        # Shared: two who ask at once do not take each other for a holder.
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def holder(path: Path) -> Process | None:
    """A process that holds the lock; None where none can be seen from here."""
    for pid in (int(name) for name in os.listdir("/proc") if name.isdigit()):
        with contextlib.suppress(OSError):
            if any(_is_hold(pid, number, path) for number in os.listdir(f"/proc/{pid}/fd")):
                return Process.of(pid)
    return None


@contextlib.contextmanager
def inherited(path: Path) -> Iterator[int]:
    """The lock, for a program started in the block with this descriptor passed on to it."""
    descriptor = take(path)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _is_hold(pid: int, number: str, path: Path) -> bool:
    """Whether it is this file's descriptor, and has the lock: /proc/PID/fdinfo, proc(5)."""
    try:
        if not os.path.samefile(f"/proc/{pid}/fd/{number}", path):
            return False
        about = Path(f"/proc/{pid}/fdinfo/{number}").read_text(encoding="ascii")
    except OSError:  # closed meanwhile, or of something that has no place here
        return False
    return any("FLOCK" in line and "WRITE" in line for line in about.splitlines())
