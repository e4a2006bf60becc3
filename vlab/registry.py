"""The registry of machines: which there are, their owners and their users.

Each machine has a folder with its state in it (``machine.json``). Whether its emulator runs, its
owner lives and somebody uses it is told by locks on files of that folder, which the kernel lets go
of when their holders end, however they end (``vlab.hold``). A machine whose owner was killed is
thus known as such, and swept at the next start.
"""

import contextlib
import errno
import fcntl
import json
import os
import re
import secrets
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields, replace
from enum import Enum
from pathlib import Path
from typing import Any

from vlab import hold
from vlab.errors import VlabError, unusable
from vlab.image import Image, cache_root
from vlab.process import Process, home
from vlab.qemu import CONSOLE, Settings

STATE = "machine.json"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,40}")

_owned: dict[Path, int] = {}  # the locks of this process's machines: let go when it ends


class Life(Enum):
    """How long a machine lives: until its owner ends, or until it is taken down."""

    BOUND = "the kernel, in the moment in which its owner dies"
    OWNED = "its owner, who may decide to keep it; the next start, where the owner was killed"
    FREE = "somebody who says 'down'"


@dataclass(frozen=True)
class Machine:
    """A lab: where its files are, how to log in, whose it is.

    ``since`` is in seconds since the epoch, ``ssh_after`` in seconds from then until ssh answered.
    ``home`` is where it runs (``vlab.process.home``). ``owner`` is None for one that stays. A
    ``kept`` one still has on it what a run has changed.
    """

    folder: Path
    settings: Settings
    accel: str
    recipe: str
    since: float
    home: str
    owner: Process | None
    process: Process | None = None
    port: int = 0
    ssh_after: float = 0.0
    ready: bool = False
    kept: bool = False
    child: "subprocess.Popen[bytes] | None" = field(default=None, compare=False, repr=False)

    user = "root"
    host = "127.0.0.1"

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def key(self) -> Path:
        return self.folder / "key"

    @property
    def known_hosts(self) -> Path:
        return self.folder / "known_hosts"

    @property
    def console(self) -> Path:
        return self.folder / CONSOLE

    @property
    def ssh(self) -> list[str]:
        """The command line that logs in."""
        return [
            *("ssh", "-F", "none", "-p", str(self.port), "-i", str(self.key)),
            *("-o", "IdentitiesOnly=yes", "-o", f"UserKnownHostsFile={self.known_hosts}"),
            *("-o", "BatchMode=yes", "-o", "LogLevel=ERROR", f"{self.user}@{self.host}"),
        ]

    @property
    def stays(self) -> bool:
        """Whether it is up until somebody ends it: no process owns it."""
        return self.owner is None

    @property
    def near(self) -> bool:
        """Whether it runs where we do, so that it can be logged in to and signalled."""
        return self.home == home()

    def alive(self) -> bool:
        """Whether its emulator runs, wherever that is."""
        return hold.held(self.folder / hold.EMULATOR)

    def owner_alive(self) -> bool:
        """Whether the process runs that it must not outlive; one that stays has none."""
        return self.owner is not None and hold.held(self.folder / hold.OWNER)


def machines_root() -> Path:
    """The folder of the machines' own folders."""
    return cache_root() / "machines"


@contextmanager
def locked() -> Iterator[None]:
    """Nobody else enters, sweeps or takes a machine for the length of the block.

    Raises VlabError where the cache cannot be used.
    """
    root = machines_root()
    with contextlib.ExitStack() as stack:
        try:
            root.mkdir(parents=True, exist_ok=True)
            lock = stack.enter_context((root / ".lock").open("w"))
        except OSError as error:
            raise unusable(cache_root(), error) from error
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def enter(name: str, image: Image, settings: Settings, mode: str) -> Machine:
    """A folder for a new machine, its state in it from the start. VlabError if it is taken.

    While it boots, even one that is to stay is this process's: should it die now, it is swept.
    """
    if not NAME.fullmatch(name):
        raise VlabError(f"'{name}' is no name for a lab: letters, digits, '-', '_', '.' only")
    folder = machines_root() / name
    owner = Process.of(os.getpid())
    machine = Machine(folder, settings, mode, image.folder.name, time.time(), home(), owner)
    with locked():
        try:
            _owned[folder] = _place(machine)
        except OSError as error:
            if error.errno in (errno.EEXIST, errno.ENOTEMPTY):
                raise VlabError(f"a lab named '{name}' is there already") from error
            raise unusable(cache_root(), error) from error
    return machine


def booted(machine: Machine, life: Life, ssh_after: float) -> Machine:
    """Note the end of its boot; a machine that stays has no owner from now on."""
    owner = None if life is Life.FREE else machine.owner
    return update(machine, ready=True, owner=owner, ssh_after=ssh_after)


def update(machine: Machine, **changes: Any) -> Machine:
    """The machine with other values, on disk too."""
    changed = replace(machine, **changes)
    _write(machine.folder, changed)
    if changed.owner is None:
        _disown(machine.folder)
    return changed


def remove(folder: Path) -> None:
    """Remove a machine's folder; its name is free, and it is in no list, at once."""
    _disown(folder)
    gone = folder.with_name(f".gone-{folder.name}-{secrets.token_hex(3)}")
    with contextlib.suppress(FileNotFoundError):  # somebody else was faster
        folder.rename(gone)
        # What cannot be removed now (an open file on NFS) is litter.
        shutil.rmtree(gone, ignore_errors=True)


def sweep_litter() -> None:
    """Remove what killed processes left half made or half removed; for a holder of ``locked``."""
    for pattern in (".new-*", ".gone-*"):
        for folder in machines_root().glob(pattern):
            shutil.rmtree(folder, ignore_errors=True)


def folders() -> list[Path]:
    """The machines' folders, whatever is in them."""
    return [path for path in sorted(machines_root().glob("[!.]*")) if path.is_dir()]


class Unreadable(VlabError):
    """A folder whose state is missing, damaged or another version's."""


def read(folder: Path) -> Machine:
    """The machine of a folder. Raises Unreadable."""
    known = {each.name for each in fields(Machine)}
    try:
        found = json.loads((folder / STATE).read_text(encoding="utf-8"))
        value = {name: found[name] for name in found if name in known}
        for name in ("owner", "process"):
            value[name] = Process(**value[name]) if value[name] else None
        value |= {"folder": folder, "settings": Settings(**value["settings"])}
        return Machine(**value)
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise Unreadable(f"its {STATE} cannot be read: {error!r}") from error


def entries() -> list[Machine]:
    """The machines whose state can be read, oldest first."""
    found = []
    for folder in folders():
        with contextlib.suppress(Unreadable):
            found.append(read(folder))
    return sorted(found, key=lambda machine: machine.since)


def fits(machine: Machine, recipe: str, settings: Settings) -> bool:
    """Whether a machine that stays is one of this recipe and of these settings.

    Which kata is in it is the recipe's to say, wherever the archive lies.
    """
    same = replace(machine.settings, accel=settings.accel, kata=settings.kata) == settings
    suits = settings.accel in ("auto", machine.accel)
    return machine.stays and machine.recipe == recipe and same and suits


def _place(machine: Machine) -> int:
    """Make the machine's folder, in one step; its owner's lock."""
    fresh = Path(tempfile.mkdtemp(prefix=".new-", dir=machines_root()))
    with contextlib.ExitStack() as undo:
        undo.callback(shutil.rmtree, fresh)
        lock = hold.take(fresh / hold.OWNER)
        undo.callback(os.close, lock)
        _write(fresh, machine)
        fresh.rename(machine.folder)
        undo.pop_all()
    return lock


def _write(folder: Path, machine: Machine) -> None:
    value = {**asdict(replace(machine, child=None)), "folder": None, "child": None}
    partial = folder / f".{STATE}"
    partial.write_text(json.dumps(value), encoding="utf-8")
    partial.rename(folder / STATE)


def _disown(folder: Path) -> None:
    if (lock := _owned.pop(folder, None)) is not None:
        os.close(lock)


class InUse(VlabError):
    """Somebody else uses the machine."""


@contextmanager
def used(machine: Machine, who: str) -> Iterator[Machine]:
    """Use the machine alone for the length of the block; the machine as it is by now.

    Raises InUse, which names the one who uses it already, and Unreadable or FileNotFoundError where
    it has been taken down meanwhile.
    """
    with contextlib.ExitStack() as stack:
        with locked():
            stack.enter_context(_taken(machine, who))
            now = read(machine.folder)
        yield now


def user_of(machine: Machine) -> str | None:
    """Who uses the machine; None when nobody does."""
    with locked():
        return user_within(machine)


def user_within(machine: Machine) -> str | None:
    """The same, for one who holds the lock of ``locked``."""
    try:
        with _taken(machine, ""):
            return None
    except InUse as error:
        return str(error).partition(" in use by ")[2]
    except FileNotFoundError:
        return None


@contextmanager
def _taken(machine: Machine, who: str) -> Iterator[None]:
    with (machine.folder / "use").open("a+", encoding="utf-8") as use:
        try:
            fcntl.flock(use, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            use.seek(0)
            raise InUse(f"'{machine.name}' is in use by {use.read()}") from None
        use.truncate(0)
        use.write(who)
        use.flush()
        yield
