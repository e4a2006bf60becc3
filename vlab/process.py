"""A process that is told from a later one with the same number: by its start time."""

import contextlib
import os
import select
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

# Before a command's words: the kernel kills it when the thread that started it has ended.
DIE_WITH_PARENT = ("setpriv", "--pdeathsig", "KILL", "--")


def boot_id() -> str:
    """This boot of the machine: after another one no process of ours can be left."""
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()


def home() -> str:
    """An id of this boot, PID namespace and network namespace.

    Process numbers and ports of loopback mean the same only within one of them.
    """
    return " ".join([boot_id(), *(os.readlink(f"/proc/self/ns/{kind}") for kind in ("pid", "net"))])


@dataclass(frozen=True)
class Process:
    """A process of this boot. ``start`` is in clock ticks since the boot (proc(5), field 22)."""

    pid: int
    start: int

    @classmethod
    def of(cls, pid: int) -> "Process":
        """The process that has this number now; ProcessLookupError when there is none."""
        start = _start(pid)
        if start is None:
            raise ProcessLookupError(f"there is no process {pid}")
        return cls(pid, start)

    def alive(self) -> bool:
        """Whether it still runs; one that has ended and waits for its parent does not."""
        return _start(self.pid) == self.start

    def wait(self, seconds: float) -> bool:
        """Wait up to so long for its end; returns whether it has ended. Needs not be a child."""
        with self._held() as held:
            if held is None:
                return True
            poll = select.poll()
            poll.register(held, select.POLLIN)
            return bool(poll.poll(seconds * 1000))

    def signal(self, signum: signal.Signals) -> None:
        """Send a signal to it, and never to another process that has got its number."""
        with self._held() as held, contextlib.suppress(ProcessLookupError):
            if held is not None:
                signal.pidfd_send_signal(held, signum)

    def peak_memory(self) -> int:
        """The most memory that it ever had resident, in KiB (VmHWM)."""
        for line in Path(f"/proc/{self.pid}/status").read_text(encoding="utf-8").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1])
        raise ProcessLookupError(f"process {self.pid} has ended")

    @contextlib.contextmanager
    def _held(self) -> Iterator[int | None]:
        """A file descriptor that stands for the process itself; None when it has ended."""
        try:
            held = os.pidfd_open(self.pid)
        except ProcessLookupError:
            yield None
            return
        try:
            yield held if self.alive() else None
        finally:
            os.close(held)


def _start(pid: int) -> int | None:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    # The name, in brackets, may hold anything; the state is the first field after it.
    fields = stat.rpartition(")")[2].split()
    return None if fields[0] in "ZXx" else int(fields[19])
