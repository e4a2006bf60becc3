"""A lab's state on disk, from which another lab goes on: the next one need not boot.

What QEMU writes when a machine is migrated to a file (memory, processors, devices), with the disk
as it was in that moment, and the key that logs in. A boot is much the same work each time; so the
first lab of a kind is saved when it has booted, and others of that kind begin there, as long as
this computer has not been restarted. What differs by then is set right: the clock, the machine
id, and the kernel's random numbers (the device vmgenid tells it to begin anew). The GPUs' processes
begin anew, too; the connections that the saved machine had are dead.

Only what is emulated in software is saved: under KVM a boot takes seconds, and a processor's state
fits no other processor. VLAB_BOOT=always boots each lab.
"""

import contextlib
import hashlib
import json
import os
import secrets
import shlex
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from vlab import hold, qmp
from vlab.errors import VlabError
from vlab.image import Image, cache_root
from vlab.qemu import Settings
from vlab.registry import Machine

MEMORY, DISK, KEYS, ABOUT = "memory", "disk.qcow2", ("key", "key.pub"), "about.json"
INCOMING = ("-incoming", "defer")  # QEMU's words for a machine that waits for its state
KEPT = 4  # states of labs that have booted; the one used longest ago goes first
ROOM = 4 << 30  # bytes that must be free for a state: half a gigabyte is usual
DEADLINE = 300.0  # seconds for QEMU to write or read one, or for a script; 3 are usual
# Seconds after which one that goes on has hung: it has nothing to say, and logging in takes 2. Seen
# once in some forty times; the next try went well.
SILENCE = 60.0
# Some thousand turns of a shell, and the nanoseconds for them: emulated work, of which the same
# amount was done when the state was saved. Without the login: the first one in a machine that goes
# on is translated anew, and takes twice as long as later ones.
WORK = """
began=$(date +%s%N)
i=0; while [ $i -lt 10000 ]; do i=$((i+1)); done
echo $(($(date +%s%N) - began))
"""
# journalctl looks for its files under the machine id; journald has them open, and writes on.
ANEW = """
for logs in /var/log/journal /run/log/journal; do
    if [ -d "$logs/$(cat /etc/machine-id)" ]; then
        mv "$logs/$(cat /etc/machine-id)" "$logs/{id}"
    fi
done
echo {id} > /etc/machine-id
"""
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")

Say = Callable[[str], None]


@dataclass(frozen=True)
class State:
    """A state that is whole: its folder; the boot of the lab and ``WORK`` in it, in seconds.

    What goes on from it is another machine (``anew``), or the same one at another time. A ``cold``
    one is its disk alone: the machine boots from that, as after a power cut.
    """

    folder: Path
    ssh_after: float
    worked: float
    computer: str
    anew: bool = True
    cold: bool = False

    @property
    def disk(self) -> Path:
        return self.folder / DISK


def of_boot(image: Image, settings: Settings, mode: str) -> Path | None:
    """The folder for the state of a lab of this kind after its boot; None where none is kept."""
    if mode == "kvm" or os.environ.get("VLAB_BOOT") == "always":
        return None
    kind = json.dumps([image.folder.name, asdict(replace(settings, accel=mode, kata=""))])
    return cache_root() / "states" / hashlib.sha256(kind.encode()).hexdigest()[:16]


def read(folder: Path) -> State | None:
    """The state in a folder, if one of this boot of the computer is there, and whole."""
    with contextlib.suppress(OSError, ValueError, TypeError):
        state = State(folder, **json.loads((folder / ABOUT).read_text("utf-8")))
        # What a crash of the computer left of files is not known.
        if state.computer == BOOT_ID.read_text("ascii").strip():
            os.utime(folder)  # "last used", for prune
            return state
    return None


def keep_boot(machine: Machine, folder: Path, say: Say) -> None:
    """Save a lab that has just booted, for others; where that cannot be, say why."""
    began = time.monotonic()
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        prune(folder.parent, KEPT - 1)
        if (free := shutil.disk_usage(folder.parent).free) < ROOM:
            raise VlabError(f"only {free >> 20} MiB are free there")
        save(machine, folder, work_of(machine))
    except (VlabError, OSError) as error:
        say(f"vlab: its state is not kept in {folder.parent} for the next lab: {error}")
    else:
        say(f"vlab: its state is kept for the next lab ({time.monotonic() - began:.0f} s)")


def save(machine: Machine, folder: Path, work: float, *, anew: bool = True) -> State:
    """Write a lab's state into a new folder; meanwhile it stands still, some seconds.

    ``work`` is what ``work_of`` told at the time of the lab's boot. Raises VlabError where QEMU
    cannot; the lab goes on as before.
    """
    computer = BOOT_ID.read_text("ascii").strip()
    state = State(folder, machine.ssh_after, work, computer, anew)
    partial = folder.with_name(f"{folder.name}-{secrets.token_hex(4)}.partial")
    partial.mkdir(mode=0o700)
    try:
        with hold.inherited(partial / hold.OWNER), _still(machine):
            _move(machine, "migrate", f"file:{partial / MEMORY}")
            for name in (DISK, *KEYS):
                shutil.copy(machine.folder / name, partial / name)
            about = {key: value for key, value in asdict(state).items() if key != "folder"}
            (partial / ABOUT).write_text(json.dumps(about), encoding="utf-8")
        put(partial, folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return state


def put(partial: Path, folder: Path) -> None:
    """Give a state that is written its place, in which one that cannot be read makes room."""
    if read(folder) is None:  # of an earlier boot of the computer, or of another version
        shutil.rmtree(folder, ignore_errors=True)
    try:
        partial.rename(folder)
    except OSError:
        if not folder.exists():  # else another one was as quick
            raise


def forget(state: State) -> None:
    """Delete a state."""
    shutil.rmtree(state.folder, ignore_errors=True)


def load(machine: Machine, state: State) -> None:
    """Give a machine that waits for it the state; it goes on at once. Raises VlabError."""
    _move(machine, "migrate-incoming", f"file:{state.folder / MEMORY}")
    qmp.ask(machine.folder, "cont")  # it was saved standing still


def settle(machine: Machine, state: State) -> float:
    """Set right what is otherwise now; how long its boot would have taken here and now, in seconds.

    That is told by work that took so long when the state was saved. All by one login, which is
    most of what it takes. Raises VlabError.
    """
    script = f"date -u -s @{time.time():.3f} >/dev/null\n"
    if state.anew:
        script += ANEW.format(id=secrets.token_hex(16))
    return state.ssh_after * work_of(machine, script, SILENCE) / state.worked


def work_of(machine: Machine, script: str = "", patience: float = DEADLINE) -> float:
    """How long ``WORK`` takes in a lab at the moment, in seconds, by the lab's own clock.

    ``script`` comes before it, and prints nothing. Raises VlabError where they are not done in
    ``patience`` seconds.
    """
    return max(1, int(_done(machine, script + WORK, patience))) / 1e9


def prune(root: Path, kept: int) -> None:
    """Delete the states in a folder but for those used last, and what killed savers left."""
    whole = []
    for folder in root.iterdir():
        if folder.suffix == ".partial":
            if not hold.held(folder / hold.OWNER):
                shutil.rmtree(folder, ignore_errors=True)
        else:
            whole.append((folder.stat().st_mtime, folder))
    for _, folder in sorted(whole, reverse=True)[kept:]:
        shutil.rmtree(folder, ignore_errors=True)


def _done(machine: Machine, script: str, patience: float) -> str:
    """What a script prints in a lab; VlabError where it fails, or takes too long."""
    command = [*machine.ssh, shlex.join(["sh", "-ec", script])]
    words: dict[str, Any] = {"stdin": subprocess.DEVNULL, "capture_output": True, "text": True}
    try:
        done = subprocess.run(command, **words, timeout=patience)
    except subprocess.TimeoutExpired as error:
        raise VlabError(f"'{script}' has not ended in the lab in {patience:.0f} s") from error
    if done.returncode:
        raise VlabError(f"'{script}' ended with {done.returncode} in the lab: {done.stderr}")
    said: str = done.stdout
    return said


@contextlib.contextmanager
def _still(machine: Machine) -> Iterator[None]:
    qmp.ask(machine.folder, "stop")
    try:
        yield
    finally:
        qmp.ask(machine.folder, "cont")


def _move(machine: Machine, command: str, uri: str) -> None:
    """Let QEMU write or read a state, and wait for it. Raises VlabError."""
    folder = machine.folder
    # Pages at places of their own: those of nothing but zeros take no room, and none is read twice.
    mapped = [{"capability": "mapped-ram", "state": True}]
    qmp.ask(folder, "migrate-set-capabilities", capabilities=mapped)
    qmp.ask(folder, "migrate-set-parameters", **{"max-bandwidth": 0})
    qmp.ask(folder, command, uri=uri)
    deadline = time.monotonic() + DEADLINE
    while time.monotonic() < deadline:
        with contextlib.suppress(qmp.Silent):  # while it reads it may not answer
            told = qmp.ask(folder, "query-migrate")
            if told.get("status") == "completed":
                return
            if told.get("status") == "failed":
                raise VlabError(f"QEMU: {told.get('error-desc', 'the state cannot be moved')}")
        time.sleep(0.05)
    raise VlabError(f"QEMU has not moved the state in {DEADLINE:.0f} s")
