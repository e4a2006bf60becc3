"""The lab's machine: started, waited for, found again, and gone without a trace.

What it is made of is in ``vlab.qemu``; who may use it and who keeps it, in ``vlab.registry``.
"""

import contextlib
import os
import secrets
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from vlab import accel, boot, launch, preflight, qmp, registry
from vlab.errors import VlabError
from vlab.image import Image, cache_root
from vlab.process import Process, boot_id
from vlab.qemu import CONSOLE, Settings, command_line
from vlab.registry import Life, Machine

__all__ = ["Life", "Machine", "Settings", "find", "machines_root", "running", "start", "stop"]

Say = Callable[[str], None]

LAST_CONSOLE = "last-console.log"  # in the cache: of the lab that ended last without being asked

machines_root = registry.machines_root


@contextmanager
def running(
    image: Image, settings: Settings, say: Say, *, console: Path | None = None
) -> Iterator[Machine]:
    """A machine for the length of the block; it dies with this process whatever happens to it.

    What it says on its serial console goes to ``console`` as it says it.
    """
    machine = start(image, settings, say, life=Life.BOUND, console=console)
    try:
        yield machine
    finally:
        stop(machine)


def start(
    image: Image,
    settings: Settings,
    say: Say,
    *,
    life: Life,
    name: str | None = None,
    console: Path | None = None,
) -> Machine:
    """Start a machine and wait until its services run.

    ``life`` says what ends it (see ``Life``). Its console goes to the file ``console``, else to
    one in the machine's folder. Raises VlabError, with the console's last lines, when it does not
    come up; nothing is left of it then but the console.
    """
    image = Image(image.folder.absolute())  # the emulator starts in a folder of its own
    preflight.check(settings)
    find(say)
    mode = accel.choose(image, say) if settings.accel == "auto" else settings.accel
    started = time.monotonic()
    machine = registry.enter(
        name or f"lab-{os.getpid()}-{secrets.token_hex(3)}", image, settings, mode, life
    )
    try:
        say(f"vlab: booting the lab ({mode}, {settings.cpus} cpus, {settings.memory} MiB) ...")
        _console(machine, console)
        machine = _launch(machine, image, life)
        ssh_after = boot.wait(machine)
    except BaseException as error:
        kept = _save_console(machine)
        _end(machine)
        if isinstance(error, VlabError):
            raise VlabError(f"{error}\nconsole: {console or kept or 'it said nothing'}") from error
        raise
    owner = None if life is Life.FREE else machine.owner
    machine = registry.update(machine, ready=True, owner=owner, ssh_after=ssh_after)
    say(f"vlab: the lab is up after {time.monotonic() - started:.0f} s")
    return machine


def stop(machine: Machine) -> None:
    """End the machine and remove its files. Its disk was a throw-away."""
    _end(machine)


def find(say: Say = lambda _: None) -> list[Machine]:
    """The machines that are up, oldest first. What dead owners left is ended and swept away.

    What is swept is said, with the reason, and where its console is now.
    """
    found = []
    with registry.locked():
        for machine in registry.entries():
            if why := _why_swept(machine):
                kept = _save_console(machine)
                say(f"vlab: '{machine.name}' is swept away: {why}; console: {kept or 'empty'}")
                _end(machine)
            elif machine.ready and machine.alive():
                found.append(machine)
    return found


def _why_swept(machine: Machine) -> str | None:
    if machine.boot != boot_id():
        return "this computer has been booted since"
    if machine.owner is not None:
        # As long as its owner lives, it is the owner's to look at and to end.
        return None if machine.owner.alive() else "the process that started it is gone"
    if machine.alive() or registry.user_within(machine):
        return None
    return f"it has ended: {boot.cause(machine)}"


def _console(machine: Machine, console: Path | None) -> None:
    if console is not None:
        console.parent.mkdir(parents=True, exist_ok=True)
        console.touch()
        (machine.folder / CONSOLE).symlink_to(console.absolute())


def _save_console(machine: Machine) -> Path | None:
    """Keep the console of a machine whose folder goes; a link leads to one that stays anyway."""
    if machine.console.is_symlink():
        return machine.console.resolve()
    if not machine.console.exists() or not machine.console.stat().st_size:
        return None
    return Path(shutil.copyfile(machine.console, cache_root() / LAST_CONSOLE))


def _launch(machine: Machine, image: Image, life: Life) -> Machine:
    launched = machine

    def started(child: "subprocess.Popen[bytes]", port: int) -> None:
        nonlocal launched
        known = f"[{machine.host}]:{port} {image.host_key}\n"
        machine.known_hosts.write_text(known, encoding="ascii")
        with contextlib.suppress(ProcessLookupError):  # it has ended; launch says why
            process = Process.of(child.pid)
            launched = registry.update(machine, child=child, process=process, port=port)

    launch.make_key(machine.folder)
    launch.make_disk(machine.folder, image)
    launch.launch(
        machine.folder,
        lambda port: command_line(image, machine.settings, machine.accel, machine.folder, port),
        bound=life is Life.BOUND,
        started=started,
    )
    return launched


def _end(machine: Machine) -> None:
    """Ask it to quit, then terminate, then kill; and remove its files."""
    process = machine.process
    if process is not None and machine.alive():
        patience = 0.0
        with contextlib.suppress(VlabError):  # what does not answer is ended all the same
            qmp.ask(machine.folder, "quit")
            patience = 5.0
        for signum in (signal.SIGTERM, signal.SIGKILL):
            if process.wait(patience):
                break
            process.signal(signum)
            patience = 5.0
        if not process.wait(patience):
            raise VlabError(
                f"the emulator of '{machine.name}' (pid {process.pid}) does not end, not even by "
                "SIGKILL: see its state in /proc, and dmesg"
            )
    if machine.child is not None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            machine.child.wait(5)
    shutil.rmtree(machine.folder, ignore_errors=True)
