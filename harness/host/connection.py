"""The way to a host: made anew when it is lost, and what its loss has left running over there."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable

from harness.errors import LabError
from harness.host import cancellation
from harness.host.command import CommandError, HostRebooted, HostUnreachable, deadline_argv, tail
from harness.host.process import execute
from harness.host.transport import Transport

SWEEP_TIMEOUT = 15.0  # seconds on the host
SWEEP_GUARD = 30.0  # seconds on this side

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


class Connection:
    """A transport that counts how often it was made, and remembers the commands that it lost.

    A command goes on over there when its connection breaks, up to its deadline: nothing that comes
    after may begin, least of all the undo of what it does, before it has been ended. `greet` asks a
    host that is reached again who it is: whether it still is in the same boot.
    """

    def __init__(self, transport: Transport, greet: Callable[[], bool]) -> None:
        self.transport = transport
        self.made = 1
        self._greet = greet
        self._lock = threading.Lock()
        self._broken = False
        self._rebooted = False
        self._left: list[str] = []  # marks (NAME=VALUE) of what may still run on the host

    def check(self) -> None:
        """HostRebooted when the host has; nothing that a run knows of it holds any more."""
        if self._rebooted:
            raise HostRebooted(
                f"Host '{self.transport.name}' has rebooted since the run began.",
                hint="pytest --recover",
            )

    def lost(self, mark: str, over: int) -> None:
        """Connection number `over` broke under the command with this mark in its environment."""
        self._left.append(mark)
        if over == self.made:
            self._broken = True

    def end(self, mark: str) -> None:
        """End what still runs with this mark; where that fails now, it is tried again later."""
        try:
            with cancellation.unchecked():
                self._sweep(mark)
        except LabError:  # an error is already under way
            self._left.append(mark)

    def remake(self, over: int) -> None:
        """Make connection number `over` anew, unless another thread has, and end what it left.

        HostUnreachable when there is no way; HostRebooted; LabError when something does not end.
        """
        with self._lock:
            self.check()
            if over == self.made:
                self.transport.reconnect()
                self.made += 1
                self._broken = False
                self._rebooted = not self._greet()
                self.check()
            self._end_left()

    def settle(self) -> None:
        """Have a connection that works, and nothing running that an earlier one has left."""
        if self._broken:
            self.remake(self.made)
        self.check()
        with self._lock:
            self._end_left()

    def _end_left(self) -> None:
        while self._left:
            self._sweep(self._left[0])
            del self._left[0]

    def _sweep(self, mark: str) -> None:
        far = deadline_argv(sweep_argv(mark), SWEEP_TIMEOUT)
        result = execute(self.transport.argv(far), guard=SWEEP_GUARD)
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
            f" alone, and printed:\n{said.strip()[:1000] or '(nothing)'}",
            hint="have ~/.bashrc, or whatever that shell reads as it starts, write to terminals"
            " alone: [ -t 1 ] || return",
        )
    return said.strip()


def sweep_argv(mark: str) -> list[str]:
    """The command that ends all processes with `mark` (NAME=VALUE) in their environment."""
    return ["sh", "-c", SWEEP, "sh", mark]
