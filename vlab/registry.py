"""Which machines there are, whose they are, and who uses them.

Each machine has a folder with its state in it (``machine.json``): the emulator's process, told by
its start time, and the process that owns the machine. A machine whose owner was killed is thus
known as such, and swept at the next start. Use is a lock on a file, which the kernel lets go of
when the user dies.
"""

import contextlib
import fcntl
import json
import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from enum import Enum
from pathlib import Path
from typing import Any

from vlab.errors import VlabError
from vlab.image import Image, cache_root
from vlab.process import Process, boot_id
from vlab.qemu import CONSOLE, Settings

STATE = "machine.json"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,40}")


class Life(Enum):
    """What ends a machine."""

    BOUND = "the kernel, in the moment in which its owner dies"
    OWNED = "its owner, who may decide to keep it; the next start, where the owner was killed"
    FREE = "somebody who says 'down'"


@dataclass(frozen=True)
class Machine:
    """A lab: where its files are, how to log in, whose it is.

    ``since`` is in seconds since the epoch, ``ssh_after`` in seconds from then until ssh answered.
    ``owner`` is None for one that stays. A ``kept`` one
    still has on it what a run has changed.
    """

    folder: Path
    settings: Settings
    accel: str
    recipe: str
    since: float
    boot: str
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
    def pid(self) -> int:
        """The emulator's."""
        return self.process.pid if self.process else 0

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

    def alive(self) -> bool:
        """Whether its emulator runs."""
        return self.process is not None and self.boot == boot_id() and self.process.alive()


def machines_root() -> Path:
    """Where machines keep their files."""
    return (cache_root() / "machines").absolute()


@contextmanager
def locked() -> Iterator[None]:
    """Nobody else enters, sweeps or takes a machine for the length of the block."""
    root = machines_root()
    root.mkdir(parents=True, exist_ok=True)
    with (root / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def enter(name: str, image: Image, settings: Settings, mode: str, life: Life) -> Machine:
    """A folder for a new machine, its state in it from the start. VlabError if it is taken."""
    if not NAME.fullmatch(name):
        raise VlabError(f"'{name}' is no name for a lab: letters, digits, '-', '_', '.' only")
    folder = machines_root() / name
    owner = None if life is Life.FREE else Process.of(os.getpid())
    # While it boots, even one that is to stay is this process's: should it die now, it is swept.
    starter = owner or Process.of(os.getpid())
    machine = Machine(folder, settings, mode, image.folder.name, time.time(), boot_id(), starter)
    with locked():
        fresh = Path(tempfile.mkdtemp(prefix=".new-", dir=machines_root()))
        try:
            _write(fresh, machine)
            fresh.rename(folder)
        except OSError as error:
            shutil.rmtree(fresh)
            raise VlabError(f"a lab named '{name}' is there already: {error.strerror}") from error
    return machine


def update(machine: Machine, **changes: Any) -> Machine:
    """The machine with other values, on disk too."""
    changed = replace(machine, **changes)
    _write(machine.folder, changed)
    return changed


def entries() -> list[Machine]:
    """What the machines' folders say, oldest first; those of another version are left alone."""
    found = []
    for state in machines_root().glob(f"*/{STATE}"):
        with contextlib.suppress(FileNotFoundError, ValueError, TypeError, KeyError):
            found.append(_read(state))
    return sorted(found, key=lambda machine: machine.since)


def fits(machine: Machine, recipe: str, settings: Settings) -> bool:
    """Whether a machine that stays is one of this recipe and of these settings."""
    same = replace(machine.settings, accel=settings.accel) == settings
    suits = settings.accel in ("auto", machine.accel)
    return machine.owner is None and machine.recipe == recipe and same and suits


def _write(folder: Path, machine: Machine) -> None:
    value = {**asdict(replace(machine, child=None)), "folder": None, "child": None}
    partial = folder / f".{STATE}"
    partial.write_text(json.dumps(value), encoding="utf-8")
    partial.rename(folder / STATE)


def _read(path: Path) -> Machine:
    value = json.loads(path.read_text(encoding="utf-8"))
    for name in ("owner", "process"):
        value[name] = Process(**value[name]) if value[name] else None
    return Machine(**{**value, "folder": path.parent, "settings": Settings(**value["settings"])})


class InUse(VlabError):
    """Somebody else uses the machine."""


@contextmanager
def used(machine: Machine, who: str) -> Iterator[None]:
    """Use the machine alone for the length of the block; InUse names the one who does already."""
    with contextlib.ExitStack() as stack:
        with locked():
            stack.enter_context(_taken(machine, who))
        yield


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
