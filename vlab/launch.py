"""Key, disk and process of a machine; it is launched when its monitor answers."""

import contextlib
import os
import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from vlab import hold, qmp
from vlab.errors import VlabError
from vlab.image import Image
from vlab.process import DIE_WITH_PARENT

LOG = "qemu.log"  # what QEMU itself says, in the machine's folder
STAND_DEADLINE = 60.0  # seconds until QEMU's monitor answers; one is usual
PORT_TRIES = 10
PORT_TAKEN = "Could not set up host forwarding rule"  # QEMU, net/slirp.c


def make_key(folder: Path) -> None:
    """A key pair for this machine alone."""
    _make(
        "key",
        *("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "vlab", "-f", str(folder / "key")),
    )


def make_disk(folder: Path, image: Image, saved: Path | None = None) -> None:
    """An overlay over the image's disk, or over a saved one, to be thrown away."""
    backing = ("-b", str(saved or image.disk), "-F", "qcow2" if saved else "raw")
    _make(
        "disk",
        *(*image.emulator("qemu-img"), "create", "-q", "-f", "qcow2", *backing),
        str(folder / "disk.qcow2"),
    )


def _make(what: str, *argv: str) -> None:
    try:
        done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    except OSError as error:
        raise VlabError(f"the lab's {what} could not be made: {error}") from error
    if done.returncode:
        raise VlabError(f"the lab's {what} could not be made: {done.stderr.strip()}")


def launch(
    folder: Path,
    command: Callable[[int, Sequence[int]], Sequence[str]],
    *,
    bound: bool,
    plugged: Callable[[], AbstractContextManager[Sequence[int]]] = lambda: nullcontext(()),
    started: "Callable[[subprocess.Popen[bytes], int], None]" = lambda process, port: None,
) -> "tuple[subprocess.Popen[bytes], int]":
    """Start QEMU in its folder; returns the process and the port that it forwards.

    ``started`` is told of each process at once, so that it is known even if we are killed while it
    is waited for. ``command`` makes the command line for a port, and for the descriptors that
    ``plugged`` yields, which QEMU inherits. A port can be taken between choice
    and use; QEMU has done nothing then, and gets another. Raises VlabError with what QEMU said.
    """
    for _ in range(PORT_TRIES):
        port = free_port()
        with plugged() as sockets:
            process = start(folder, command(port, sockets), bound=bound, inherit=sockets)
        try:
            started(process, port)
            if _stands(process, folder):
                return process, port
        except BaseException:
            process.kill()
            process.wait()
            raise
        said = (folder / LOG).read_text(errors="replace").strip()
        if PORT_TAKEN not in said:
            raise VlabError(
                f"the lab's emulator ended at once, with status {process.returncode}: "
                f"{said or 'no message'}"
            )
    raise VlabError(
        f"{PORT_TRIES} ports in a row, the last {port}, were taken between choice and use: {said}"
    )


def free_port() -> int:
    """A port of loopback that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def start(
    folder: Path, command: Sequence[str], *, bound: bool, inherit: Sequence[int] = ()
) -> "subprocess.Popen[bytes]":
    """Start a machine's emulator in its folder; as long as it runs, it holds the folder's lock."""
    # Its own session: a Ctrl-C at the terminal is for the run, which still needs the lab to
    # undo what it did. A bound one's life is tied to ours by the kernel instead.
    guard = DIE_WITH_PARENT if bound else ()
    with hold.inherited(folder / hold.EMULATOR) as lock, (folder / LOG).open("wb") as log:
        return subprocess.Popen(
            [*guard, *command],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            pass_fds=(lock, *inherit),
            env={**os.environ, "LC_ALL": "C"},
        )


def _stands(process: "subprocess.Popen[bytes]", folder: Path) -> bool:
    """Wait until QEMU carries out commands, with all of its devices made; False if it ended."""
    deadline = time.monotonic() + STAND_DEADLINE
    while time.monotonic() < deadline:
        with contextlib.suppress(qmp.Silent):
            qmp.ask(folder, "query-status")
            return True
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(0.05)
            return False
    raise VlabError(f"the lab's emulator did not answer on its monitor in {STAND_DEADLINE:.0f} s")
