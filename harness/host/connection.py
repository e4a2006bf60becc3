"""A connection that is made again when it is lost, and the commands that a loss left running."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable

from harness.errors import RECOVER, LabError
from harness.host.command import CommandError, HostRebooted, HostUnreachable, deadline_argv, tail
from harness.host.process import execute
from harness.host.transport import Transport
from harness.text import head

SWEEP_TIMEOUT = 15.0  # seconds on the host
SWEEP_HARD_TIMEOUT = 30.0  # seconds on this side

BOOT_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")  # a UUID (kernel, random.c)

# Ends whatever carries $1 in its environment, also what left the process group: TERM, then KILL.
# With "G" as $2, $1 is a basic regular expression.
SWEEP = """
how=xF; [ $# -lt 2 ] || how=$2
mine() { grep -lsz$how "$1" /proc/[0-9]*/environ 2>/dev/null | cut -d/ -f3 || true; }
for signal in TERM TERM TERM TERM TERM KILL KILL; do
    pids=$(mine "$1"); [ -n "$pids" ] || exit 0
    kill -s $signal $pids 2>/dev/null || true
    sleep 0.3
done
[ -z "$(mine "$1")" ]
"""

# Ends what left the process group and cleared its environment, too: orphans without a mark in the
# login session of this connection, which is ours alone; its processes stay in its scope. Where the
# host has no systemd, or is this machine, there is none to be told by (docs/security.md).
STRAYS = """
scope=$(grep -E '^(0:|[0-9]+:name=systemd):/.*/(session|harness)-[^/]*[.]scope$' /proc/self/cgroup |
    head -n 1)
[ -n "$scope" ] || exit 0
parent() { sed -n 's/^PPid:[[:space:]]*//p' "/proc/$1/status" 2>/dev/null || true; }
strays() {
    here=" $(grep -lsxF "$scope" /proc/[0-9]*/cgroup | sed 's,/cgroup$,,; s,.*/,,' | tr '\\n' ' ') "
    for pid in $here; do
        case "$here" in *" $(parent "$pid") "*) continue ;; esac
        case "$above" in *" $pid "*) continue ;; esac
        grep -qsz '^HARNESS_' "/proc/$pid/environ" || echo "$pid"
    done
}
above=' ' pid=$$
while [ "${pid:-0}" -gt 1 ]; do above="$above$pid " pid=$(parent "$pid"); done
for signal in TERM TERM KILL KILL KILL; do
    pids=$(strays); [ -n "$pids" ] || exit 0
    kill -s $signal $pids 2>/dev/null || true
    sleep 0.3
done
"""


class Connection:
    """A transport that is reconnected on demand, and the commands that were lost with it.

    A command goes on running on the host when its connection breaks, up to its deadline. It has to
    be ended before anything else may begin, above all before the undo of what it does. `generation`
    counts the connections. `handshake` is called on a new one: False means another boot.
    """

    def __init__(self, transport: Transport, handshake: Callable[[], bool]) -> None:
        self.transport = transport
        self.made = 1  # the current generation
        self._handshake = handshake
        self._lock = threading.Lock()
        self._broken = False
        self._rebooted = False
        self._orphans: list[str] = []  # marks (NAME=VALUE) of what may still run on the host

    def check(self) -> None:
        """Raise HostRebooted when the host has rebooted: what the run knows of it is void."""
        if self._rebooted:
            raise HostRebooted(
                f"Host '{self.transport.name}' has rebooted since the run began.",
                hint=RECOVER,
            )

    def connection_lost(self, mark: str, generation: int) -> None:
        """Note that this generation broke under the command with `mark` in its environment."""
        self._orphans.append(mark)
        if generation == self.made:
            self._broken = True

    def end(self, mark: str) -> None:
        """End the processes with this mark; where that fails, `ensure_clean` tries again."""
        try:
            self._sweep(mark)
        except LabError:  # an error is already under way
            self._orphans.append(mark)

    def reconnect(self, generation: int) -> None:
        """Replace this generation, unless another thread has done so, and end its lost commands.

        Raises HostUnreachable, HostRebooted, or LabError when a command cannot be ended.
        """
        with self._lock:
            self.check()
            if generation == self.made:
                self.transport.reconnect()
                self.made += 1
                self._broken = False
                self._rebooted = not self._handshake()
                self.check()
            self._end_orphans()

    def ensure_clean(self) -> None:
        """Reconnect where the connection is broken, and end all lost commands; as `reconnect`."""
        if self._broken:
            self.reconnect(self.made)
        self.check()
        with self._lock:
            self._end_orphans()

    def _end_orphans(self) -> None:
        while self._orphans:
            self._sweep(self._orphans[0])
            del self._orphans[0]

    def _sweep(self, mark: str) -> None:
        far = deadline_argv(sweep_argv(mark, self.transport.strays), SWEEP_TIMEOUT)
        result = execute(self.transport.argv(far), hard_timeout=SWEEP_HARD_TIMEOUT)
        if why := self.transport.lost(result):
            self._broken = True
            raise HostUnreachable(f"Host '{self.transport.name}' was lost: {why}", result=result)
        if result.rc != 0:
            raise CommandError(
                f"A command that was lost on '{self.transport.name}' still runs and cannot be"
                f" ended.{tail(result)}",
                result=result,
                hint=f"as root there: grep -lz '^{mark}' /proc/[0-9]*/environ",
            )


def boot_id(host: str, said: str) -> str:
    """The boot id that a host printed; LabError where it printed anything beside it."""
    if not BOOT_ID.fullmatch(said.strip()):
        raise LabError(
            f"The login shell of host '{host}' writes to stdout: it was asked for its boot id"
            f" alone, and printed:\n{head(said.strip(), 1000) or '(nothing)'}",
            hint="have ~/.bashrc, or whatever that shell reads as it starts, write to terminals"
            " alone: [ -t 1 ] || return",
        )
    return said.strip()


def sweep_argv(mark: str, strays: str = "") -> list[str]:
    """The command that ends all processes with `mark` (NAME=VALUE) in their environment.

    `strays` is a script that ends others, which have lost it (`Transport.strays`).
    """
    script = f"({SWEEP})\nrc=$?\n({strays})\nexit $rc" if strays else SWEEP
    return ["sh", "-c", script, "sh", mark]
