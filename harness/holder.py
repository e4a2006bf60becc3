"""Who has a host: enough of a process to name it, and to know when it is gone."""

from __future__ import annotations

import getpass
import os
import socket
from dataclasses import dataclass
from datetime import UTC, datetime

from harness.errors import LabError
from harness.host import ANY, TOKEN, Host
from harness.scripts import SWEEP


@dataclass(frozen=True)
class Holder:
    """Who runs: named by a lock, and in a journal's header."""

    run: str
    user: str
    runner: str  # name of the machine that pytest runs on
    runner_boot: str  # its boot id: a process id means something only within one boot
    pid: int
    started: int  # the process's start time in clock ticks: process ids are used again
    since: str
    boot: str  # boot id of the lab host
    pid_ns: str = ""  # the process id's namespace; empty: of a version that did not note it

    def __str__(self) -> str:
        return f"{self.user}@{self.runner}, process {self.pid}, run {self.run}, since {self.since}"

    @property
    def here(self) -> bool:
        """Whether it runs, or ran, where we can see: on this machine, in this pid namespace.

        A container has the name and the boot of its machine (docker --network host), and not its
        processes.
        """
        return self.runner == socket.gethostname() and self.pid_ns == _own_pid_ns()

    @property
    def dead(self) -> bool:
        """Whether its process is known to be gone; never so of one that is not `here`."""
        if not self.here:
            return False
        return self.runner_boot != _own_boot() or _start_time(self.pid) != self.started


def holder(host: Host, run_id: str) -> Holder:
    """This process, as holder of a run on `host`."""
    return Holder(
        run=run_id,
        user=getpass.getuser(),
        runner=socket.gethostname(),
        runner_boot=_own_boot(),
        pid=os.getpid(),
        started=_start_time(os.getpid()),
        since=datetime.now(UTC).isoformat(timespec="seconds"),
        boot=host.boot_id,
        pid_ns=_own_pid_ns(),
    )


def end_commands(host: Host, run_id: str) -> None:
    """End what a dead run's commands still do on the host; LabError when they cannot be ended.

    A command outlives the process that sent it, up to its deadline: nothing can be taken back
    while it goes on changing things.
    """
    if host.sh(SWEEP, f"^{TOKEN}={run_id}[.]", "G", ok=ANY).rc != 0:
        raise LabError(
            f"What run '{run_id}' began on '{host.name}' still runs and cannot be ended.",
            hint=f"as root there: grep -lz '^{TOKEN}={run_id}' /proc/[0-9]*/environ",
        )


def _own_boot() -> str:
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        return file.read().strip()


def _own_pid_ns() -> str:
    return os.readlink("/proc/self/ns/pid")


def _start_time(pid: int) -> int:
    """Field 22 of /proc/PID/stat (proc(5)); -1 for a process that is gone or a zombie."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            fields = file.read().rpartition(")")[2].split()
    except OSError:
        return -1
    return -1 if fields[0] in "ZX" else int(fields[19])
