"""One run a host, across all machines that may drive it."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from dataclasses import asdict

from harness.command import CommandError
from harness.errors import LabError, Refused
from harness.holder import Holder, end_commands, holder
from harness.host import ANY, Host
from harness.state import STATE_DIR, StateRefused, secure

# All of it under flock(1) on a guard file, so that two that find the same stale lock do not both
# take it. $1 lock, $2 the host's boot id, $3 run id whose lock may be replaced. stdin: new lock.
_TAKE = """
exec 9>"$1.guard"
flock -w 30 9
if [ -s "$1" ] && grep -qF "\\"boot\\": \\"$2\\"" "$1"; then
    if [ -z "$3" ] || ! grep -qF "\\"run\\": \\"$3\\"" "$1"; then cat "$1"; exit 3; fi
fi
umask 077
cat >"$1.new"
sync "$1.new"
mv -fT "$1.new" "$1"
"""
_DROP = """
exec 9>"$1.guard"
flock -w 30 9
if [ -e "$1" ] && grep -qF "\\"run\\": \\"$2\\"" "$1"; then rm -f "$1"; fi
"""


class LockHeld(Refused):
    """Another run has the host; `holder` is who."""

    def __init__(self, message: str, holder: Holder, *, hint: str) -> None:
        super().__init__(message, hint=hint)
        self.holder = holder


def acquire(host: Host, run_id: str, state: str = STATE_DIR, *, recover: bool = False) -> None:
    """Take the host's lock; LockHeld names who has it.

    A lock of an earlier boot of the host is taken over. With `recover` also one whose process is
    known to be gone; of a run on another machine that is never known.
    """
    path = f"{state}/journal/host.lock"
    host.run_id = run_id
    secure(host, f"{state}/journal")
    mine = json.dumps(asdict(holder(host, run_id))) + "\n"
    replace = ""
    for _ in range(2):
        result = host.sh(_TAKE, path, host.boot_id, replace, input=mine, ok=ANY)
        if result.rc == 0:
            return
        if result.rc != 3:
            raise LabError(f"Lock '{path}' on '{host.name}' cannot be taken: {result.err.strip()}")
        other = _parse(host, path, result.out)
        if not (recover and other.dead):
            break
        end_commands(host, other.run)
        replace = other.run
    raise _held(host, path, other)


def _parse(host: Host, path: str, text: str) -> Holder:
    try:
        return Holder(**json.loads(text))
    except (ValueError, TypeError) as error:
        raise LabError(
            f"Lock '{path}' on '{host.name}' cannot be read: {error}",
            hint="it may be of another version; make sure that nothing runs, then remove it",
        ) from error


def _held(host: Host, path: str, other: Holder) -> LockHeld:
    if other.dead:
        hint = "that process is gone: pytest --recover takes back what it left"
    elif other.here:
        hint = "wait for it, or stop it with Ctrl-C or SIGTERM, so that it cleans up"
    else:
        hint = (
            f"ask on '{other.runner}', in its containers too; if that run is gone, pytest --recover"
            f" there clears it; if that is gone too, remove '{path}' on '{host.name}', then recover"
        )
    return LockHeld(f"Host '{host.name}' is in use by {other}.", other, hint=hint)


def release(host: Host, run_id: str, state: str = STATE_DIR) -> None:
    """Give the lock back, if it is this run's."""
    host.sh(_DROP, f"{state}/journal/host.lock", run_id)


@contextlib.contextmanager
def locked(
    host: Host, run_id: str, state: str = STATE_DIR, *, recover: bool = False
) -> Iterator[None]:
    """Hold the host's lock for a while."""
    mine = True  # also where an interruption or a lost connection leaves open who has it
    try:
        try:
            acquire(host, run_id, state, recover=recover)
        except (LockHeld, StateRefused):
            mine = False
            raise
        yield
    finally:
        if mine:
            with contextlib.suppress(CommandError):  # the next boot or --recover clears it
                host.run("true", probe=True)
                release(host, run_id, state)
