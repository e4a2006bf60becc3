"""The lab's machine: start it, wait for it, find it again, remove it.

Its hardware is in ``vlab.qemu``; who may use it and who keeps it, in ``vlab.registry``.
"""

import contextlib
import os
import secrets
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

from vlab import accel, boot, hold, launch, pace, preflight, qmp, registry, saved
from vlab.errors import VlabError, unusable
from vlab.image import Image, cache_root
from vlab.process import Process
from vlab.qemu import CONSOLE, Settings, command_line
from vlab.registry import Life, Machine
from vlab.standins import gpu

Say = Callable[[str], None]

KEPT_CONSOLES = 20  # of labs that ended without being asked to; older ones go
PATIENCE = 5.0  # seconds for QEMU to end, after each way of telling it to

machines_root = registry.machines_root


def consoles_root() -> Path:
    """The folder of the consoles of labs that ended unexpectedly, by the lab's name."""
    return cache_root() / "consoles"


def start(
    image: Image,
    settings: Settings,
    say: Say,
    *,
    life: Life,
    name: str | None = None,
    console: Path | None = None,
    state: saved.State | None = None,
) -> Machine:
    """Start a machine and wait until its services run.

    ``life`` says what ends it (see ``Life``). Its console goes to the file ``console``, else to
    one in the machine's folder. It goes on from ``state``, by default from the one that the first
    of its kind was in after its boot; that one is saved then. Raises VlabError, with the console's
    last lines, when it does not come up; nothing is left of it then but the console.
    """
    image = Image(image.folder.absolute())  # the emulator starts in a folder of its own
    preflight.check(settings)
    find(say)
    mode = accel.choose(image, settings, say)
    name = name or f"lab-{os.getpid()}-{secrets.token_hex(3)}"

    def begin(state: saved.State | None) -> Machine:
        machine = registry.enter(name, image, settings, mode)
        return _begin(machine, image, life, console, state, say)

    if state is not None:
        return begin(state)
    kept = saved.of_boot(image, settings, mode)
    if kept and (state := saved.read(kept)):
        try:
            return begin(state)
        except VlabError as error:
            saved.forget(state)
            say(f"vlab: the lab does not go on from its saved state, and is booted: {error}")
    machine = begin(None)
    if kept:
        saved.keep_boot(machine, kept, say)
    return machine


def _begin(
    machine: Machine,
    image: Image,
    life: Life,
    console: Path | None,
    state: saved.State | None,
    say: Say,
) -> Machine:
    """Start a machine that is in the registry, and wait for it."""
    started, settings = time.monotonic(), machine.settings
    boots = state is None or state.cold
    how = "booting the lab" if boots else "the lab goes on from a saved state"
    try:
        say(f"vlab: {how} ({machine.accel}, {settings.cpus} cpus, {settings.memory} MiB) ...")
        _console(machine, console)
        machine = _launch(machine, image, life, state)
        machine = registry.booted(machine, life, _up(machine, state))
    except OSError as error:
        _give_up(machine, unusable(cache_root(), error), say)
    except BaseException as error:
        _give_up(machine, error, say)
    slow = pace.of(machine)
    how = f", {slow:g} times slower than usual" if slow > 1 else ""
    say(f"vlab: the lab is up after {time.monotonic() - started:.0f} s{how}")
    return machine


def _up(machine: Machine, state: saved.State | None) -> float:
    """Wait until a machine's services run; the seconds that its boot takes here and now."""
    if state is None or state.cold:
        return boot.wait(machine)
    saved.load(machine, state)
    boot.greeted(machine, saved.SILENCE)
    return saved.settle(machine, state)


def stop(machine: Machine, tell_console: Say | None = None) -> None:
    """End the machine and remove its files. Its disk was a throw-away.

    With ``tell_console`` its console is kept, and told where. Raises VlabError if it does not end.
    """
    _end(machine)
    if tell_console is not None:
        tell_console(f"vlab: the lab is ended; its console: {_keep_console(machine.folder)}")
    registry.remove(machine.folder)


def reset(machine: Machine, say: Say) -> None:
    """Cut the machine's power, and wait until it has booted again from the disk that it had.

    What its kernel had not written yet is lost, as on hardware; its disk has a journal. Its memory,
    GPUs and connections begin anew. Raises VlabError, with the console's last lines, when it does
    not come up.
    """
    say(f"vlab: the power of '{machine.name}' is cut ...")
    started = time.time()
    # Otherwise a reset ends the emulator, as the kernel's own after a panic has to.
    qmp.ask(machine.folder, "set-action", reboot="reset")
    try:
        qmp.ask(machine.folder, "system_reset")
        boot.wait(replace(machine, since=started))
    finally:
        qmp.ask(machine.folder, "set-action", reboot="shutdown")
    say(f"vlab: it is up again after {time.time() - started:.0f} s")


def find(say: Say = lambda _: None) -> list[Machine]:
    """The machines that are up here, oldest first. What dead owners left is ended and swept away.

    What is swept is said, with the reason, and where its console is now; so is what cannot be. A
    machine of another container or computer that shares the cache is left alone as long as it runs.
    """
    found = []
    with registry.locked():
        registry.sweep_litter()
        for folder in registry.folders():
            try:
                machine = registry.read(folder)
                if why := _why_swept(machine):
                    _end(machine)
                    _sweep(folder, why, say)
                elif machine.ready and machine.near and machine.alive():
                    found.append(machine)
            except registry.Unreadable as error:
                _judge_unreadable(folder, error, say)
            except (VlabError, OSError) as error:  # one that is stuck does not hide the others
                say(f"vlab: '{folder.name}' is left as it is: {error}")
    return sorted(found, key=lambda machine: machine.since)


def _sweep(folder: Path, why: str, say: Say) -> None:
    console = _keep_console(folder)
    registry.remove(folder)
    say(f"vlab: '{folder.name}' is swept away: {why}; console: {console}")


def _why_swept(machine: Machine) -> str | None:
    # As long as its owner lives, it is the owner's to look at and to end.
    if machine.owner_alive():
        return None
    if machine.owner is not None and (machine.near or not machine.alive()):
        return "the process that started it is gone"
    if machine.alive() or registry.user_within(machine):
        return None
    if not machine.near:
        return "it has ended, with the boot or the container that it ran in"
    return f"it has ended: {boot.cause(machine)}"


def _judge_unreadable(folder: Path, error: VlabError, say: Say) -> None:
    """Sweep a folder of ours that nobody holds; of any other one say what to do."""
    locks = [folder / name for name in (hold.OWNER, hold.EMULATOR)]
    if locks[0].exists() and not any(map(hold.held, locks)):
        _sweep(folder, str(error), say)
        return
    say(
        f"vlab: {folder} is no lab that this version knows ({error}): take it down with the "
        "version that made it, or end what runs of it and remove the folder"
    )


def _console(machine: Machine, console: Path | None) -> None:
    if console is not None:
        console.parent.mkdir(parents=True, exist_ok=True)
        console.touch()
        (machine.folder / CONSOLE).symlink_to(console.absolute())


def _keep_console(folder: Path) -> str:
    """Keep the console of a machine that has ended; where it is now, in words.

    A link leads to one that stays anyway. Any other is moved, which needs no room on a full disk.
    """
    console, root = folder / CONSOLE, consoles_root()
    if console.is_symlink():
        return str(console.resolve())
    try:
        if not console.exists() or not console.stat().st_size:
            return "it said nothing"
        root.mkdir(exist_ok=True)
        kept = console.rename(root / f"{folder.name}.log")
        by_age = sorted(root.iterdir(), key=lambda path: path.stat().st_mtime, reverse=True)
        for old in by_age[KEPT_CONSOLES:]:
            old.unlink()
    except OSError as error:
        return f"it could not be kept: {error}"
    return str(kept)


def _give_up(machine: Machine, error: BaseException, say: Say) -> NoReturn:
    """End a machine that something went wrong with; raise that, with its console named."""
    if not isinstance(error, VlabError):
        stop(machine, say)
        raise error
    _end(machine)
    console = _keep_console(machine.folder)
    registry.remove(machine.folder)
    raise VlabError(f"{error}\nconsole: {console}") from error


def _launch(machine: Machine, image: Image, life: Life, state: saved.State | None) -> Machine:
    launched = machine

    def started(child: "subprocess.Popen[bytes]", port: int) -> None:
        nonlocal launched
        known = f"[{machine.host}]:{port} {image.host_key}\n"
        machine.known_hosts.write_text(known, encoding="ascii")
        with contextlib.suppress(ProcessLookupError):  # it has ended; launch says why
            process = Process.of(child.pid)
            launched = registry.update(machine, child=child, process=process, port=port)

    if state is None:
        launch.make_key(machine.folder)
    else:
        for name in saved.KEYS:  # what it lets in stands in its memory and on its disk
            shutil.copy(state.folder / name, machine.folder / name)
    launch.make_disk(machine.folder, image, state.disk if state else None)
    waiting = saved.INCOMING if state and not state.cold else ()
    launch.launch(
        machine.folder,
        lambda port, sockets: [
            *command_line(image, machine.settings, machine.accel, machine.folder, port, sockets),
            *waiting,
        ],
        bound=life is Life.BOUND,
        plugged=lambda: gpu.plugged(image.folder, machine.folder, machine.settings.gpus),
        started=started,
    )
    return launched


def _end(machine: Machine) -> None:
    """End its emulator, if it runs. Raises VlabError if it will not end."""
    if machine.alive():
        # One whose starter was killed at once has not got into the state, but has its lock.
        process = machine.process or hold.holder(machine.folder / hold.EMULATOR)
        if process is None:
            raise VlabError(f"the emulator of '{machine.name}' runs, and is not to be seen here")
        _end_emulator(machine, process)
    if machine.child is not None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            machine.child.wait(PATIENCE)


def _end_emulator(machine: Machine, process: Process) -> None:
    """Ask it to quit, then terminate, then kill."""
    patience = 0.0
    with contextlib.suppress(VlabError):  # what does not answer is ended all the same
        qmp.ask(machine.folder, "quit")
        patience = PATIENCE
    for signum in (signal.SIGTERM, signal.SIGKILL):
        if process.wait(patience):
            return
        process.signal(signum)
        patience = PATIENCE
    if not process.wait(patience):
        raise VlabError(
            f"the emulator of '{machine.name}' (pid {process.pid}) does not end, not even by "
            "SIGKILL: see its state in /proc, and dmesg"
        )
