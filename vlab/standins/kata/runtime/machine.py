"""One virtual machine: its virtiofsd, its QEMU, its console, and the way to its agent.

Real: a machine of its own for each container, virtiofsd as kata starts it, VFIO, vsock.
Not real: no QMP, hence no hot plug (hot_plug_vfio is plugged before boot too), no pause, no resize.
Both children die with the process that started them (PR_SET_PDEATHSIG).
"""

import contextlib
import os
import socket
import subprocess
import time
from typing import Any

from .. import wire
from ..wire import PeerError
from . import link, qemu
from .config import Config
from .log import Log
from .qemu import Plan

_DIE_WITH_PARENT = ("setpriv", "--pdeathsig", "KILL", "--")
_FIRST_CID = 3  # 0 to 2 are taken by definition
_CONSOLE_KEPT = 1 << 20  # bytes of console.log; a guest can print for ever
_MOST_DESCRIPTORS = 256
_CHECK_TIMEOUT = 10.0  # seconds for the agent to answer that it is there
_CLIENT_END = 60.0  # seconds that QEMU may take to die once its connection to virtiofsd has ended
_TAIL = 12  # lines of a log that are quoted in an error


# What kata says where the guest does not answer, and where it dies later; it never says why.
_NO_AGENT = (
    "Failed to Check if grpc server is working: rpc error: code = DeadlineExceeded "
    "desc = timed out connecting to vsock {}:1024"
)
_LOST = "Failed to Check if grpc server is working: ttrpc: closed"


class MachineError(Exception):
    """The machine did not come up; the text is kata's, and the reason is in the system log."""


class Unanswered(MachineError):
    """QEMU ended before it answered its monitor, for which kata waits for ever."""


class Machine:
    """A running machine. ``logs`` is the container's folder."""

    def __init__(self, config: Config, log: Log, logs: str) -> None:
        self._config = config
        self._log = log
        self._logs = logs
        self.cid = _FIRST_CID + int.from_bytes(os.urandom(3))
        self._virtiofsd: subprocess.Popen[bytes] | None = None
        self._qemu: subprocess.Popen[bytes] | None = None
        self._watcher = 0
        self._died = _NO_AGENT.format(self.cid)
        self._cancelled = ""

    @property
    def pid(self) -> int:
        """QEMU's, 0 before it is started."""
        return self._qemu.pid if self._qemu else 0

    def share(self, folder: str) -> str:
        """Start virtiofsd on a folder; returns the path of its socket."""
        path = f"{self._logs}/virtiofsd.sock"
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(path)
        listener.listen(1)
        with open(f"{self._logs}/virtiofsd.log", "wb") as log:
            self._virtiofsd = subprocess.Popen(
                [
                    *(*_DIE_WITH_PARENT, self._config.virtio_fs_daemon),
                    *(f"--fd={listener.fileno()}", f"--shared-dir={folder}", "--sandbox=chroot"),
                    *(f"--cache={self._config.virtio_fs_cache}", "--log-level=warn"),
                    *("--announce-submounts", *self._config.virtio_fs_extra_args),
                ],
                pass_fds=(listener.fileno(),),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        listener.close()
        return path

    def boot(self, plan: Plan) -> None:
        """Start QEMU; it boots in the background."""
        words = [*_pin(), *qemu.command(self._config, plan)]
        exiting = "exiting" if plan.release.newer else "exitting"
        self._cancelled = f"{exiting} QMP loop, command cancelled"
        self._log.info(f"launching {words[0]} with: {words[1:]}")
        reader, writer = os.pipe()
        with open(f"{self._logs}/qemu.log", "wb") as log:
            self._qemu = subprocess.Popen(
                [*_DIE_WITH_PARENT, *words], stdin=subprocess.DEVNULL, stdout=writer, stderr=log
            )
        os.close(writer)
        self._watcher = os.fork()
        if self._watcher == 0:
            self._watch_console(reader)
        os.close(reader)

    def wait_for_agent(self) -> None:
        """Until the agent takes a connection; MachineError if it does not, or the guest has died.

        (Unlike kata, which also waits dial_timeout out for a machine that is no more.)
        """
        deadline = time.monotonic() + self._config.dial_timeout
        while time.monotonic() < deadline:
            self.check_alive()
            try:
                # Answered, not only connected to: the first connections to a slow guest may break.
                link.ask(self.cid, {"do": "check"}, _CHECK_TIMEOUT)
                self._died = _LOST
                return
            except PeerError:
                time.sleep(0.1)
        raise MachineError(self._died)

    def request(self, body: dict[str, Any], timeout: float) -> dict[str, Any]:
        """Ask the agent for something on a connection of its own."""
        return link.ask(self.cid, body, timeout)

    def check_alive(self, grace: float = 0.0) -> None:
        """MachineError if QEMU or virtiofsd has ended, or does so within ``grace`` seconds."""
        assert self._qemu is not None
        gone = self._virtiofsd is not None and self._virtiofsd.poll() is not None
        # virtiofsd ends when its client does: an end of QEMU, seen a little later, is the cause.
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._qemu.wait(max(grace, _CLIENT_END if gone else 0.0))
        if self._qemu.returncode is not None:
            raise self._end_of_qemu()
        if gone:
            raise MachineError(f"virtiofsd ended: {self._last('virtiofsd.log')}")

    def _end_of_qemu(self) -> MachineError:
        """What kata makes of it; QEMU's own words go to the system log alone."""
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self._watcher, 0)  # until the console is written down to its end
        said = self._last("qemu.log").splitlines()
        for text in said:
            self._log.qemu(self.pid, text)
        if self._last("console.log"):
            return MachineError(self._died)
        # A device is refused when QEMU has its monitor already; what is wrong before is not heard.
        if any(" -device " in text for text in said):
            return MachineError(self._cancelled)
        return Unanswered(f"QEMU ended before it answered: {said}")

    def stop(self) -> None:
        """End QEMU, then virtiofsd; whatever does not go is killed."""
        for process, patience in ((self._qemu, 5.0), (self._virtiofsd, 2.0)):
            if process is None:
                continue
            process.terminate()
            try:
                process.wait(patience)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def _last(self, name: str) -> str:
        try:
            with open(f"{self._logs}/{name}", encoding="utf-8", errors="replace") as file:
                return "\n".join(file.read().splitlines()[-_TAIL:])
        except OSError:
            return ""

    def _watch_console(self, reader: int) -> None:
        """In a process of its own: keep the console, and show it line by line if asked to."""
        os.dup2(reader, 0)
        null = os.open("/dev/null", os.O_WRONLY)
        os.dup2(null, 1)
        os.dup2(null, 2)
        # Others wait for the end of what the supervisor has open; this process must not delay it.
        os.closerange(3, _MOST_DESCRIPTORS)
        system_log = Log(self._log.sandbox)
        kept = 0
        with (
            open(f"{self._logs}/console.log", "wb", buffering=0) as log,
            open(0, "rb", buffering=0) as console,
        ):
            rest = b""
            while chunk := console.read(wire.CHUNK):
                if kept < _CONSOLE_KEPT:
                    kept += log.write(chunk)
                *lines, rest = (rest + chunk).split(b"\n")
                rest = rest[-wire.CHUNK :]
                for line in lines if self._config.hypervisor_debug else ():
                    system_log.console(line.decode(errors="replace").rstrip("\r"))
        os._exit(0)


def _pin() -> list[str]:
    """Keep a machine on one processor of the host.

    Under emulated SVM on two processors, a machine was seen to wedge and its host to panic soon
    after ("corrupted stack end", in the thread of its CPU). Staying in one place is a precaution
    against what moves between the two, and no cure: the fault has not been found. It was seen since
    on the other processor too, whose local APIC then had the timer's interrupt in service for
    ever, while the processor slept: QEMU had taken the interrupt and never run its handler.
    """
    return ["taskset", "--cpu-list", str(max(os.sched_getaffinity(0)))]
