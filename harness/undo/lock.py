"""The host lock: one run per host, across all runners. It names its owner."""

from __future__ import annotations

import contextlib
import getpass
import json
import os
import shlex
import socket
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

from harness.errors import RECOVER, LabError, Refused
from harness.host.command import CommandError, Result
from harness.host.connection import SWEEP
from harness.host.host import ANY, TOKEN, Host
from harness.undo import form

STATE_DIR = "/var/lib/passthrough-acceptance"

GUARD = 10.0  # seconds that the lock's guard may be held, which is done for some milliseconds

# $1: the state directory. Makes it and its journal/, or refuses what somebody else could write:
# what stands in a journal will be executed. Ends with 3 when refused.
_SECURE = """
umask 077
mkdir -p -- "$1/journal"
for path in "$1" "$1/journal"; do
    if [ -L "$path" ]; then echo "'$path' is a symbolic link"; exit 3; fi
    set -- $(stat -c '%u %a' -- "$path")
    if [ "$1" != "$(id -u)" ]; then echo "'$path' belongs to user id $1"; exit 3; fi
    if [ $((0$2 & 022)) -ne 0 ]; then echo "'$path' has mode $2"; exit 3; fi
done
"""


class StateRefused(Refused):
    """The state directory, or a journal in it, could be written by others."""


def secure(host: Host, state: str) -> None:
    """Make the private state directory on the host; StateRefused when others could write in it."""
    result = host.sh(_SECURE, state, ok=ANY)
    if result.rc == 3:
        raise StateRefused(
            f"The journal directory on '{host.name}' cannot be trusted: {result.out.strip()}.",
            hint=f"look at it, then remove it: {shlex.join(['ls', '-laR', state])}",
        )
    if result.rc != 0:
        raise StateRefused(f"Directory '{state}' cannot be made on '{host.name}': {result.said}")


@dataclass(frozen=True)
class LockOwner:
    """Identity of the process that holds a lock; also in a journal's header."""

    run: str
    user: str
    runner: str  # name of the machine that pytest runs on
    runner_boot: str  # its boot id: a process id means something only within one boot
    pid: int
    started: int  # the process's start time in clock ticks: process ids are used again
    since: str
    boot: str  # boot id of the lab host
    pid_ns: str  # the process id's namespace

    def __str__(self) -> str:
        return f"{self.user}@{self.runner}, process {self.pid}, run {self.run}, since {self.since}"

    @property
    def is_local(self) -> bool:
        """Whether its process is visible to us: same machine, same pid namespace.

        A container may have the name and the boot id of its machine (docker --network host), but
        not its processes.
        """
        return self.runner == socket.gethostname() and self.pid_ns == _own_pid_ns()

    @property
    def is_dead(self) -> bool:
        """Whether its process is known to be gone; always False for one that is not local."""
        if not self.is_local:
            return False
        return self.runner_boot != _own_boot() or _start_time(self.pid) != self.started


def current_owner(host: Host, run_id: str) -> LockOwner:
    """This process, as owner of the lock on `host`."""
    return LockOwner(
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
    """End a dead run's commands that still run on the host; LabError when they cannot be ended.

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


# All of it under flock(1) on a guard file, so that two that find the same stale lock do not both
# take it. $1 lock, $2 seconds to wait; 4: somebody holds the guard, and who. The guard goes with
# the last of what it guards: one that was removed while we waited guards nothing.
_GUARD = """
umask 077
until [ "$1.guard" -ef /proc/self/fd/9 ]; do
    mkdir -p -- "${1%/*}"
    exec 9>"$1.guard"
    flock -w "$2" 9 && continue
    inode=$(stat -c %i -- "$1.guard")
    while read -r _ kind _ _ pid file _; do
        [ "$kind" = FLOCK ] || continue
        case $file in
            *:"$inode") echo "process $pid ($(tr '\\0' ' ' 2>/dev/null <"/proc/$pid/cmdline"))" ;;
        esac
    done </proc/locks
    exit 4
done
"""
# $3 the content of the lock that may be replaced. stdin: the new lock. 3: there is another.
_TAKE = f"""{_GUARD}
if [ -e "$1" ]; then
    there=$(cat "$1")
    [ "$there" = "$3" ] || {{ printf '%s' "$there"; exit 3; }}
fi
trap 'rm -f "$1.new"' EXIT
cat >"$1.new"
sync "$1.new"
mv -fT "$1.new" "$1"
"""
# $3 the run whose lock it may be. What is empty goes: where nothing is kept, nothing stays.
_DROP = f"""[ -d "${{1%/*}}" ] || exit 0
{_GUARD}
if [ -e "$1" ]; then
    grep -qF "\\"run\\": \\"$3\\"" "$1" || exit 0
    rm -f "$1"
fi
journal=${{1%/*}}
rm -f "$1.new"
if [ "$(ls -A "$journal")" = "${{1##*/}}.guard" ]; then
    rm -f "$1.guard"
    rmdir "$journal"
fi
rmdir "${{journal%/*}}/jobs" "${{journal%/*}}" 2>/dev/null || true
"""


class LockHeld(Refused):
    """Another run has the host; `owner` is that run's process."""

    def __init__(self, message: str, owner: LockOwner, *, hint: str) -> None:
        super().__init__(message, hint=hint)
        self.owner = owner


def acquire(host: Host, run_id: str, state: str = STATE_DIR, *, recover: bool = False) -> None:
    """Take the host's lock. Raises LockHeld, which names the owner; Refused where it cannot.

    A lock from an earlier boot of the host is taken over. With `recover` also one whose owner is
    known to be dead, which is never known of a process on another machine.
    """
    path = f"{state}/journal/host.lock"
    host.run_id = run_id
    secure(host, state)
    mine = json.dumps(asdict(current_owner(host, run_id))) + "\n"
    replace = ""
    for _ in range(3):
        result = host.sh(_TAKE, path, f"{GUARD:g}", replace, input=mine, ok=ANY)
        if result.rc == 0:
            return
        if result.rc != 3:
            raise _untaken(host, path, result)
        other = _parse(host, path, result.out)
        if other.boot == host.boot_id:
            if not (recover and other.is_dead):
                break
            end_commands(host, other.run)
        replace = result.out
    raise _held(host, path, other)


def _untaken(host: Host, path: str, result: Result) -> Refused:
    if result.rc == 4:
        return Refused(
            f"Host '{host.name}' is in use by {result.out.strip() or 'a process'} there, which"
            f" has held '{path}.guard' for {host.paced_words(GUARD)}.",
            hint=f"that takes a moment, usually: what does it wait for? fuser -v {path}.guard",
        )
    return Refused(
        f"Lock '{path}' on '{host.name}' cannot be taken: {result.said}",
        hint=f"is there room, and may it be written? {shlex.join(['df', path.rpartition('/')[0]])}",
    )


def _parse(host: Host, path: str, text: str) -> LockOwner:
    try:
        data = form.parse(text)
        form.hold(data, form.OWNER)
    except ValueError as error:
        raise Refused(
            f"Host '{host.name}' may be in use: its lock '{path}' cannot be read: {error}.",
            hint="it may be of another version; make sure that nothing runs, then remove it",
        ) from error
    return LockOwner(**data)


def _held(host: Host, path: str, other: LockOwner) -> LockHeld:
    if other.is_dead:
        hint = f"that process is gone: {RECOVER} takes back what it left"
    elif other.is_local:
        hint = "wait for it, or stop it with Ctrl-C or SIGTERM, so that it cleans up"
    else:
        hint = (
            f"ask on '{other.runner}', in its containers too; if that run is gone, {RECOVER} there"
            f" clears it; if '{other.runner}' is gone too, remove '{path}' on '{host.name}', then"
            " recover"
        )
    return LockHeld(f"Host '{host.name}' is in use by {other}.", other, hint=hint)


def release(host: Host, run_id: str, state: str = STATE_DIR) -> None:
    """Give the lock back, if it is this run's."""
    host.sh(_DROP, f"{state}/journal/host.lock", f"{GUARD:g}", run_id)


@contextlib.contextmanager
def locked(
    host: Host, run_id: str, state: str = STATE_DIR, *, recover: bool = False
) -> Iterator[None]:
    """Hold the host's lock for a while."""
    mine = True  # also where an interruption or a lost connection leaves open who has it
    try:
        try:
            acquire(host, run_id, state, recover=recover)
        except Refused:
            mine = False
            raise
        yield
    finally:
        if mine:
            with contextlib.suppress(CommandError):  # the next boot or recovery clears it
                host.run("true", probe=True)
                release(host, run_id, state)
