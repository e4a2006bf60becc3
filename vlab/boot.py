"""Wait for the end of a machine's boot, and explain why a machine has ended."""

import contextlib
import re
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from vlab import qmp
from vlab.errors import VlabError
from vlab.launch import LOG
from vlab.registry import Machine
from vlab.sources import full

# Seconds without a word on the console after which a boot has hung: one that is only slow goes on
# talking, and a whole boot usually takes 30. And seconds in all, since systemd says again and again
# that it waits for a job which never ends; a run has 1800 to reach its host.
SILENCE = 240.0
DEADLINE = 1200.0

# The kernel's last words (kernel/panic.c); panic=-1 then resets the machine, which ends QEMU.
PANIC = re.compile(r"Kernel panic - not syncing: .*")


def wait(machine: Machine, silence: float = SILENCE) -> float:
    """Until the machine's own boot is over: ssh answers long before docker does.

    Returns the seconds from the machine's start until ssh answered. Raises VlabError, with the
    console's last lines, when the boot has hung (its console says nothing for ``silence`` seconds),
    or is not over in time, or not well.
    """
    patience = Patience(machine.console, silence)
    _wait_for_ssh(machine, patience)
    ssh_after = time.time() - machine.since
    state = ""
    while state not in ("running", "degraded", "maintenance"):
        # --wait returns at once, and says so on stderr, as long as there is no bus to ask.
        state = _ask(machine, patience, "systemctl", "is-system-running", "--wait")
    if state != "running":
        failed = _ask(machine, patience, "systemctl", "--failed", "--no-legend", "--plain")
        raise VlabError(
            f"the lab booted to state '{state}', not 'running'; its failed units: "
            f"{failed or 'none'}; {_last_words(machine)}"
        )
    return ssh_after


def greeted(machine: Machine, silence: float) -> None:
    """Until a machine that had booted before answers on ssh; VlabError as ``wait``."""
    _wait_for_ssh(machine, Patience(machine.console, silence))


def why_ended(machine: Machine, patience: float = 0.0) -> str | None:
    """One line that says why the machine has ended or stands still; None while it is well.

    Its end can come a moment after that of its connections: ``patience`` seconds are given to it.
    """
    wrong = fate(machine, patience)
    return f"{wrong}; console: {machine.console.resolve()}" if wrong else None


def fate(machine: Machine, patience: float = 0.0) -> str | None:
    """The same without the console's place."""
    if machine.process is None:
        return None
    if not machine.process.wait(patience):
        return _stall(machine)
    return f"the lab's machine ended: {cause(machine)}"


def cause(machine: Machine) -> str:
    """Why a machine has ended, as far as it can be known."""
    if found := PANIC.search(_text(machine.console)):
        return f"kernel panic: {found.group().strip()}"
    status = machine.child.poll() if machine.child is not None else None
    if status == -signal.SIGKILL:
        return "QEMU was killed by SIGKILL (by somebody, or for want of memory: see dmesg)"
    said = _text(machine.folder / LOG).strip().splitlines()
    how = "QEMU is gone" if status is None else f"QEMU ended with status {status}"
    return f"{how}, saying: {said[-1]}" if said else how


def _stall(machine: Machine) -> str | None:
    """Why a machine that has not ended stands still.

    QEMU stops one that writes to a full disk (its drives' default, werror=enospc), and for ever.
    """
    try:
        status = qmp.ask(machine.folder, "query-status")["status"]
    except VlabError:
        return None  # no answer says nothing about it
    if status != "io-error":
        return None
    return f"the lab stands still, since its disk cannot grow: {full(machine.folder)}"


class Patience:
    """How long a boot is waited for: while its console says something new, and not for ever."""

    def __init__(
        self,
        console: Path,
        silence: float = SILENCE,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._console = console
        self._silence = silence
        self._clock = clock
        self._began = self._heard = clock()
        self._size = 0

    def left(self) -> float:
        """Seconds until it is over, if nothing more is said; 0 or less: it is."""
        now = self._clock()
        with contextlib.suppress(FileNotFoundError):  # it has not said anything yet
            size = self._console.stat().st_size
            if size != self._size:
                self._size, self._heard = size, now
        return min(self._began + DEADLINE, self._heard + self._silence) - now

    def over(self) -> str:
        """Why it is over, in words; empty: it is not."""
        if self.left() > 0:
            return ""
        if self._clock() >= self._began + DEADLINE:
            return f"within {DEADLINE:.0f} s"
        return f"and has said nothing for {self._silence:.0f} s"


def _wait_for_ssh(machine: Machine, patience: Patience) -> None:
    # A machine on busy cores takes its time to greet, too; each try that is given up costs it more.
    while not _greets(machine.port, max(2.0, (time.time() - machine.since) / 10)):
        _check(machine, patience, "did not answer on ssh")


def _check(machine: Machine, patience: Patience, symptom: str) -> None:
    """Wait a moment; VlabError when the machine has ended, or its time is over."""
    if wrong := fate(machine, 0.25):
        raise VlabError(f"{wrong}; {_last_words(machine)}")
    if why := patience.over():
        raise VlabError(f"the lab {symptom} {why}; {_last_words(machine)}")


def _ask(machine: Machine, patience: Patience, *words: str) -> str:
    """The output of a command in the lab; empty while the lab does not answer yet."""
    try:
        done = subprocess.run(
            [*machine.ssh, *words],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=max(1.0, patience.left()),
        )
    except subprocess.TimeoutExpired:
        done = None
    if done is None or not done.stdout.strip():
        _check(machine, patience, "did not finish its boot")
    return done.stdout.strip() if done else ""


def _greets(port: int, patience: float) -> bool:
    """Whether an ssh server speaks: the forwarder accepts long before the guest does."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=patience) as connection:
            return connection.recv(4) == b"SSH-"
    except OSError:
        return False


def _last_words(machine: Machine, lines: int = 15) -> str:
    tail = _text(machine.console).strip().splitlines()[-lines:]
    return "its console said last:\n" + ("\n".join(tail) or "(nothing)")


def _text(path: Path) -> str:
    """A file's last 64 KiB; nothing where it is not there."""
    try:
        with path.open("rb") as file:
            file.seek(0, 2)
            file.seek(max(0, file.tell() - 65536))
            return file.read().decode(errors="replace")
    except FileNotFoundError:
        return ""
