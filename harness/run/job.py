"""Jobs: commands that run for minutes on the host and outlive the connection to it.

A job is a transient systemd unit, or a session of its own where there is no systemd. It writes
its output to a file on the host, which is read by offset, and its exit status to another.
"""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from harness.errors import LabError
from harness.host.command import (
    Capture,
    CommandFailed,
    CommandTimeout,
    HostRebooted,
    HostUnreachable,
    OnLine,
    Result,
    brief,
    deadline_argv,
    decode,
    encode,
    env_argv,
    hit_deadline,
    require_program,
    tail,
)
from harness.host.connection import SWEEP
from harness.host.host import Host
from harness.text import end_of
from harness.undo.journal import Journal

TOKEN = "HARNESS_JOB"  # environment variable by which a job's processes are found
INTERVAL = 2  # seconds between two looks at a job's output; its end is seen at once
PATIENCE = 120.0  # seconds for which a host may be unreachable while its job goes on
CHUNK = 1 << 18  # bytes of output fetched at a time
BEHIND = 8 << 20  # bytes of output that wait to be fetched; of more, the last of them are
OUTPUT = 256 << 20  # bytes that a job may print: it fills a disk of the host's
STOP = 30.0  # seconds that a job gets to end when it is stopped

# $1 directory, $2 unit, $3 token, then the command. The inner shell stays, to note the status, and
# has the lock as long as it lives: who waits for the job's end waits for that, and does no work. A
# job is no part of the command that starts it, and does not end with it: it loses its mark.
_START = """
dir=$1 unit=$2 token=$3; shift 3
(umask 077; mkdir -p -- "$dir"; rm -f -- "$dir/rc" "$dir/up"; : >"$dir/out")
body='dir=$1; shift; exec 9>"$dir/lock"; flock 9; : >"$dir/up"
rc=0; "$@" >>"$dir/out" 2>&1 </dev/null 9>&- || rc=$?
echo $rc >"$dir/rc.new"; mv -f "$dir/rc.new" "$dir/rc"; exit $rc'
if [ -d /run/systemd/system ] && [ "$(id -u)" = 0 ]; then
    systemctl reset-failed "$unit" 2>/dev/null || true
    # systemd has variables of its own in a command (systemd.service(5), "COMMAND LINES"): ${name}
    # would be one, and a word that is $name; $$ is a dollar.
    set -- "$body" sh "$dir" "$@"
    for word; do
        word=$(printf '%s.' "$word" | sed 's/[$]/&&/g')
        set -- "$@" "${word%.}"; shift
    done
    systemd-run --quiet --unit="$unit" --property=KillMode=control-group \\
        --property=TimeoutStopSec=10 --setenv="PATH=$PATH" --setenv="HOME=${HOME:-/root}" \\
        --setenv="LC_ALL=${LC_ALL-}" --setenv="$token" -- sh -c "$@"
else
    # It returns before its child has left this session, which ends with this very command.
    env -u HARNESS_COMMAND "$token" setsid -f sh -c "$body" sh "$dir" "$@" \\
        </dev/null >/dev/null 2>&1
fi
until [ -e "$dir/up" ]; do sleep 0.02; done
"""

# $1 directory, $2 unit, $3 token, $4 offset, $5 bytes, $6 seconds to wait for the job's end first.
# First line: state and size; then output.
_LOOK = """
state=gone
if ! flock -s -w "$6" "$1/lock" true; then state=alive
elif [ -d /run/systemd/system ] && [ "$(id -u)" = 0 ]; then
    [ -e "$1/rc" ] || case $(systemctl show -p ActiveState --value "$2") in
        active|activating|deactivating|reloading) state=alive ;;
    esac
elif grep -qszxF "$3" /proc/[0-9]*/environ 2>/dev/null; then state=alive; fi
size=$(stat -c %s "$1/out")
[ ! -e "$1/rc" ] || state=$(cat "$1/rc")
echo "$state $size"
tail -c "+$(($4 + 1))" "$1/out" | head -c "$5"
"""

# $1 directory; milliseconds since the job ended.
_IDLE = 'echo $(($(date +%s%3N) - $(stat -c %.3Y -- "$1/rc" | tr -d .)))'

# $1 unit, $2 token; harmless where nothing runs.
_STOP = f"""
if [ -d /run/systemd/system ] && [ "$(id -u)" = 0 ]; then
    systemctl stop "$1" 2>/dev/null || ! systemctl is-active --quiet "$1"
    systemctl reset-failed "$1" 2>/dev/null || true
fi
set -- "$2"
{SWEEP}
"""


@dataclass(frozen=True)
class _Look:
    state: str  # 'alive', 'gone' (ended without a status: killed) or an exit status
    size: int
    data: bytes


class Job:
    """A job on the host, identified by the name of its unit.

    `limit`: seconds, at the host's usual pace, after which it is ended there; None: never. `idle`:
    seconds between its end and the first look at it, where that came later; no part of its own.
    """

    def __init__(
        self,
        host: Host,
        name: str,
        unit: str,
        directory: str,
        argv: Sequence[str],
        limit: float | None = None,
    ) -> None:
        self.host = host
        self.name = name
        self.unit = unit
        self.directory = directory
        self.argv = tuple(argv)
        self.limit = limit
        self.started = time.monotonic()
        self.idle = 0.0
        self._token = f"{TOKEN}={unit}"

    def stop_argv(self) -> list[str]:
        """The command that ends the job with all of its processes, and may be repeated."""
        return ["sh", "-c", _STOP, "sh", self.unit, self._token]

    def _look(self, offset: int, limit: int = CHUNK, wait: float = 0) -> _Look:
        """Its state, and what it has printed from an offset on; after a wait for its end."""
        numbers = map(str, (offset, limit, wait))
        result = self.host.sh(_LOOK, self.directory, self.unit, self._token, *numbers, probe=True)
        head, _, data = encode(result.out).partition(b"\n")
        state, size = head.decode().split()
        if int(size) > OUTPUT and state == "alive":
            self._stop_quietly()
            raise LabError(
                f"Job '{self.unit}' on '{self.host.name}' had printed {int(size) >> 20} MiB, and"
                f" was stopped: '{brief(self.argv)}'.",
                hint="what does it say over and over? Its last lines are in the evidence",
            )
        return _Look(state, int(size), data)

    def _stop_quietly(self) -> None:
        with contextlib.suppress(LabError):  # an error is under way, and the journal has it too
            self.stop()

    def alive(self) -> bool:
        """Whether it still runs."""
        return self.status() == "alive"

    def status(self) -> str:
        """'alive', its exit status, or 'gone': it ended without one, so it was killed."""
        return self._look(0, 0).state

    def tail(self, size: int = 65_536) -> str:
        """The last `size` bytes that it printed, both streams together; a mark before a part."""
        said = self.host.sh('tail -c "$2" -- "$1"', f"{self.directory}/out", str(size), probe=True)
        return decode(end_of(encode(said.out), cut=said.out_bytes == size))

    def stop(self) -> None:
        """End it with all of its processes; no error when it has ended."""
        self.host.run(*self.stop_argv(), timeout=STOP + 30)

    def wait(self, timeout: float, on_line: OnLine | None = None) -> Result:
        """Follow its output until it ends; CommandTimeout after `timeout` seconds from now.

        `timeout` is multiplied by `Host.pace`. A broken connection is tolerated for `PATIENCE`
        seconds, as the job goes on without it. Raises HostUnreachable after that.
        """
        with self.host.active.running(brief(self.argv)):
            return self._followed(time.monotonic() + self.host.paced(timeout), on_line)

    def finish(self, on_line: OnLine | None = None, ok: Collection[int] = (0,)) -> Result:
        """Follow a job that has a limit to its end, and end it where that fails.

        Both streams are in `out`, in the order in which they were written. Raises CommandTimeout,
        CommandFailed (its status is not in `ok`) or HostUnreachable (for longer than `PATIENCE`).
        """
        assert self.limit is not None
        try:
            result = self.wait(self.limit + 60, on_line)
        except BaseException:
            self._stop_quietly()
            raise
        return self._judged(result, self.limit, ok)

    def _judged(self, result: Result, limit: float, ok: Collection[int]) -> Result:
        job = f"Job '{self.name}' on '{self.host.name}'"
        self.host.trace.command(self.host.name, result)
        if hit_deadline(result, self.host.paced(limit)):
            raise CommandTimeout(
                f"{job} still ran after {self.host.paced_words(limit)} and was stopped:"
                f" '{result.brief}'.{tail(result)}",
                result=result,
            )
        require_program(result, self.host.name, ok)
        if result.rc not in ok:
            raise CommandFailed(
                f"{job} ended with exit status {result.rc}: '{result.brief}'.{tail(result)}",
                result=result,
            )
        return result

    def _followed(self, deadline: float, on_line: OnLine | None) -> Result:
        output = Capture(on_line)
        seen = False
        lost: float | None = None
        wait = 0
        while True:
            look = None
            try:
                look = self._look(output.total, wait=wait)
                lost = None
            except HostRebooted:
                raise
            except HostUnreachable:
                lost = lost or time.monotonic()
                if time.monotonic() - lost > PATIENCE:
                    raise
            if look is not None:
                if not seen and look.state.isdigit():
                    asked = self.host.sh(_IDLE, self.directory, probe=True).out
                    self.idle = max(0, int(asked)) / 1000
                seen = True
                if self._taken_in(look, output):
                    return self._ended(look.state, output)
            if time.monotonic() >= deadline:
                raise self._too_late(output)
            if look is None:
                time.sleep(INTERVAL)
            else:
                wait = INTERVAL if len(look.data) < CHUNK else 0

    def _taken_in(self, look: _Look, output: Capture) -> bool:
        """Add what was read to `output`. Returns whether the job has ended and all is read."""
        output.feed(look.data)
        if output.error is not None:
            raise output.error
        output.skip(look.size - BEHIND)
        return look.state != "alive" and output.total >= look.size

    def _too_late(self, output: Capture) -> CommandTimeout:
        result = self._result(-1, output)
        return CommandTimeout(
            f"Job '{self.unit}' on '{self.host.name}' still ran at its deadline,"
            f" {result.seconds:.0f} s after its start: '{result.brief}'.{tail(result)}",
            result=result,
        )

    def _ended(self, state: str, output: Capture) -> Result:
        output.end()
        if state == "gone":
            result = self._result(137, output)
            raise CommandFailed(
                f"Job '{self.unit}' on '{self.host.name}' was killed before it could end:"
                f" '{result.brief}'.{tail(result)}",
                result=result,
                hint="look for an out-of-memory kill: dmesg | tail",
            )
        return self._result(int(state), output)

    def _result(self, rc: int, output: Capture) -> Result:
        seconds = max(0.0, time.monotonic() - self.started - self.idle)
        return Result(self.argv, rc, output.text(), "", seconds, output.total, 0)


def start_job(
    host: Host,
    name: str,
    argv: Sequence[str],
    *,
    journal: Journal,
    env: Mapping[str, str] | None = None,
    cwd: str | None = None,
    stage: str | None = None,
    timeout: float | None = None,
) -> Job:
    """Start a job; its stop is in the journal before it starts.

    It runs until it is stopped, or for `timeout` seconds (times `Host.pace`), enforced on the host.
    `stage` is the stage in the journal entry; by default `name`.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", name):
        raise ValueError(f"'{name}' is no name for a job: letters, digits, '_', '.', '-'")
    unit = f"accept-{journal.run_id}-{name}.service"
    directory = f"{journal.state}/jobs/{journal.run_id}-{name}"
    job = Job(host, name, unit, directory, argv, timeout)
    journal.record(
        stage or name,
        f"job '{name}'",
        [job.stop_argv(), ["rm", "-rf", "--", directory]],
    )
    words = [*env_argv(env, cwd), *argv]
    if timeout is not None:
        words = deadline_argv(words, host.paced(timeout))
    try:
        host.sh(_START, directory, unit, job._token, *words)
    except BaseException:  # it may have come about all the same
        job._stop_quietly()
        raise
    job.started = time.monotonic()
    return job


def run_job(
    host: Host,
    name: str,
    argv: Sequence[str],
    *,
    timeout: float,
    on_line: OnLine | None = None,
    env: Mapping[str, str] | None = None,
    cwd: str | None = None,
    journal: Journal,
    ok: Collection[int] = (0,),
    stage: str | None = None,
) -> Result:
    """Run a job to its end, within `timeout` seconds (times `Host.pace`), enforced on the host.

    Both streams are in `out`, in the order in which they were written. Raises CommandTimeout,
    CommandFailed (status not in `ok`) or HostUnreachable (for longer than `PATIENCE`).

        run_job(host, "build", ["make", "-j4"], timeout=600, journal=run.journal)
    """
    job = start_job(
        host, name, argv, journal=journal, env=env, cwd=cwd, stage=stage, timeout=timeout
    )
    return job.finish(on_line, ok)
