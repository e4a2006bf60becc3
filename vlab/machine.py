"""The lab's machine: started, waited for, and gone again without a trace.

What it is made of is in ``vlab.qemu``.
"""

import contextlib
import os
import secrets
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from vlab import accel
from vlab.errors import VlabError
from vlab.image import Image, cache_root
from vlab.qemu import Settings, command_line

BOOT_DEADLINE = 240.0  # seconds, on busy cores under emulation; 40 is usual


@dataclass(frozen=True)
class Machine:
    """A running lab: where its files are and how to log in."""

    folder: Path
    port: int
    pid: int
    accel: str

    user = "root"
    host = "127.0.0.1"

    @property
    def key(self) -> Path:
        return self.folder / "key"

    @property
    def known_hosts(self) -> Path:
        return self.folder / "known_hosts"

    @property
    def console(self) -> Path:
        return self.folder / "console.log"

    @property
    def ssh(self) -> list[str]:
        """The command line that logs in."""
        return [
            *("ssh", "-F", "none", "-p", str(self.port), "-i", str(self.key)),
            *("-o", "IdentitiesOnly=yes", "-o", f"UserKnownHostsFile={self.known_hosts}"),
            *("-o", "BatchMode=yes", "-o", "LogLevel=ERROR", f"{self.user}@{self.host}"),
        ]


def machines_root() -> Path:
    """Where running machines keep their files."""
    return cache_root() / "machines"


@contextmanager
def running(
    image: Image, settings: Settings, say: Callable[[str], None], *, console: Path | None = None
) -> Iterator[Machine]:
    """A machine for the length of the block; it dies with this process whatever happens to it.

    What it said on its serial console is copied to ``console`` at the end.
    """
    machine = start(image, settings, say, bound=True)
    try:
        yield machine
    finally:
        if console is not None and machine.console.exists():
            console.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(machine.console, console)
        stop(machine)


def start(image: Image, settings: Settings, say: Callable[[str], None], *, bound: bool) -> Machine:
    """Start a machine and wait until it can be logged in to.

    ``bound`` ties its life to this process (for a test run); else it stays until ``stop``.
    Raises VlabError, with the console's last lines, when it does not come up.
    """
    mode = accel.choose(image) if settings.accel == "auto" else settings.accel
    folder = machines_root() / f"lab-{os.getpid()}-{secrets.token_hex(3)}"
    folder.mkdir(parents=True, mode=0o700)
    started = time.monotonic()
    try:
        port = _free_port()
        _keys(image, folder, port)
        process = _launch(image, settings, mode, folder, port, bound)
    except BaseException:
        shutil.rmtree(folder)
        raise
    machine = Machine(folder, port, process.pid, mode)
    (folder / "pid").write_text(str(process.pid), encoding="ascii")
    (folder / "port").write_text(str(port), encoding="ascii")
    try:
        say(f"vlab: booting the lab ({mode}, {settings.cpus} cpus, {settings.memory} MiB) ...")
        _wait_for_ssh(machine, process)
        _wait_for_services(machine)
    except BaseException:
        stop(machine, process)
        raise
    say(f"vlab: the lab is up after {time.monotonic() - started:.0f} s")
    return machine


def stop(machine: Machine, process: "subprocess.Popen[bytes] | None" = None) -> None:
    """End the machine (terminate, then kill) and remove its files. Its disk was a throw-away."""
    for signal, patience in ((15, 10.0), (9, 10.0)):
        with contextlib.suppress(ProcessLookupError):
            os.kill(machine.pid, signal)
        if _gone(machine.pid, patience):
            break
    shutil.rmtree(machine.folder, ignore_errors=True)


def find() -> list[Machine]:
    """The machines that are running now; what a killed run left of a dead one is swept away."""
    found = []
    for folder in sorted(machines_root().glob("lab-*")):
        try:
            pid = int((folder / "pid").read_text(encoding="ascii"))
            port = int((folder / "port").read_text(encoding="ascii"))
            command = Path(f"/proc/{pid}/cmdline").read_bytes()
        except (OSError, ValueError):
            shutil.rmtree(folder, ignore_errors=True)
            continue
        if str(folder).encode() in command:
            found.append(Machine(folder, port, pid, "kvm" if b"\0kvm\0" in command else "tcg"))
        else:
            shutil.rmtree(folder, ignore_errors=True)
    return found


def _keys(image: Image, folder: Path, port: int) -> None:
    key = folder / "key"
    try:
        subprocess.run(
            ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "vlab", "-f", str(key)],
            check=True,
            capture_output=True,
        )
    except FileNotFoundError as error:
        raise VlabError("'ssh-keygen' is not installed; ./bootstrap installs it") from error
    known = f"[127.0.0.1]:{port} {image.host_key}\n"
    (folder / "known_hosts").write_text(known, encoding="ascii")


def _launch(
    image: Image, settings: Settings, mode: str, folder: Path, port: int, bound: bool
) -> "subprocess.Popen[bytes]":
    overlay = folder / "disk.qcow2"
    made = subprocess.run(
        [
            *(*image.emulator("qemu-img"), "create", "-q", "-f", "qcow2"),
            *("-b", str(image.disk), "-F", "raw", str(overlay)),
        ],
        capture_output=True,
        text=True,
    )
    if made.returncode:
        raise VlabError(f"the lab's disk could not be made: {made.stderr.strip()}")
    # Its own session: a Ctrl-C at the terminal is for the run, which still needs the lab to
    # undo what it did. Its life is tied to ours by the kernel instead.
    guard: Sequence[str] = ("setpriv", "--pdeathsig", "KILL", "--") if bound else ()
    with (folder / "qemu.log").open("wb") as log:
        return subprocess.Popen(
            [*guard, *command_line(image, settings, mode, folder, port)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )


def _wait_for_ssh(machine: Machine, process: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + BOOT_DEADLINE
    while time.monotonic() < deadline:
        if process.poll() is not None:
            log = (machine.folder / "qemu.log").read_text(errors="replace").strip()
            raise VlabError(
                f"the lab's emulator ended with status {process.returncode}: {log or 'no message'}"
                f"\nThe console said last:\n{_tail(machine.console)}"
            )
        if _greets(machine.port):
            return
    raise VlabError(
        f"the lab did not answer on ssh within {BOOT_DEADLINE:.0f} s; its console said last:\n"
        f"{_tail(machine.console)}"
    )


def _wait_for_services(machine: Machine) -> None:
    """Until the lab's own boot is over: ssh answers long before docker does."""
    deadline = time.monotonic() + BOOT_DEADLINE
    state = ""
    while state not in ("running", "degraded", "maintenance") and time.monotonic() < deadline:
        # --wait returns at once, and says so on stderr, as long as there is no bus to ask.
        state = _ask(machine, "systemctl", "is-system-running", "--wait")
    if state != "running":
        failed = _ask(machine, "systemctl", "--failed", "--no-legend", "--plain")
        raise VlabError(
            f"the lab booted to state '{state or 'unknown'}', not 'running'; its failed units: "
            f"{failed or 'none'}; its console said last:\n{_tail(machine.console)}"
        )


def _ask(machine: Machine, *words: str) -> str:
    done = subprocess.run(
        [*machine.ssh, *words],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=BOOT_DEADLINE,
    )
    return done.stdout.strip()


def _greets(port: int) -> bool:
    """Whether an ssh server speaks: the forwarder accepts long before the guest does."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=2) as connection:
            return connection.recv(4) == b"SSH-"
    except OSError:
        return False
    finally:
        time.sleep(0.25)


def _tail(path: Path, lines: int = 25) -> str:
    if not path.exists():
        return "(nothing)"
    return "\n".join(path.read_text(errors="replace").splitlines()[-lines:])


def _gone(pid: int, patience: float) -> bool:
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)
        if not Path(f"/proc/{pid}").exists():
            return True
        time.sleep(0.05)
    return False


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
