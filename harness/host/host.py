"""The lab host, as stages use it: commands, files and forwards, each recorded."""

from __future__ import annotations

import contextlib
import os
import time
import uuid
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Protocol

from harness.errors import LabError
from harness.host.active import ActiveCommands
from harness.host.command import (
    HARD_MARGIN,
    KILL_AFTER,
    CommandError,
    CommandFailed,
    CommandTimeout,
    HostUnreachable,
    OnLine,
    ProgramMissing,
    Result,
    brief,
    deadline_argv,
    encode,
    env_argv,
    hit_deadline,
    require_program,
    tail,
)
from harness.host.connection import Connection, boot_id, sweep_argv
from harness.host.process import execute
from harness.host.programs import advice
from harness.host.ssh import SshTransport
from harness.host.transport import LocalTransport, SshEndpoint, Transport
from harness.record.trace import Trace

__all__ = ["ANY", "Host", "SshEndpoint", "Target", "open_host", "open_local", "open_ssh"]

TOKEN = "HARNESS_COMMAND"  # environment variable by which a command's processes are found again
BOOT_ID = "/proc/sys/kernel/random/boot_id"
NEEDED = "timeout env mktemp mv chmod cat sync stat flock setsid truncate grep cut"

# Every exit status. That a program of the host is missing is none of them (`ProgramMissing`).
ANY: Collection[int] = range(256)

# Prints those of "$@" that are no programs here.
LACKING = 'for tool; do command -v "$tool" >/dev/null || echo "$tool"; done'

# $1 path, $2 mode, $3 bytes. A connection that breaks looks like the end of the input over there:
# the size tells, and what was there before stays.
REPLACE = """
t=$(mktemp -- "$1.XXXXXX"); trap 'rm -f -- "$t"' EXIT
cat >"$t"; n=$(stat -c %s -- "$t")
[ "$n" = "$3" ] || { echo "only $n of $3 bytes have come" >&2; exit 1; }
chmod -- "$2" "$t"; sync "$t"; mv -fT -- "$t" "$1"
folder=${1%/*}; sync "${folder:-/}"
"""


class Target(Protocol):
    """The part of a profile that says where the host is (`harness.profile.schema.Target`)."""

    @property
    def kind(self) -> str: ...

    def endpoint(self) -> SshEndpoint: ...


class Host:
    """A lab host. Every command has a deadline, is quoted by construction and is recorded.

    `pace`: how many times slower than usual it is, 1 or more, set by the opener; every deadline is
    multiplied by it. `active`: the commands that run on it now.
    """

    def __init__(self, transport: Transport, trace: Trace) -> None:
        self.name = transport.name
        self.trace = trace
        self._transport = transport
        self._connection = Connection(transport, self.handshake)
        self.pace = 1.0
        self.active = ActiveCommands()
        self.boot_id = ""
        self._has: set[str] = set()  # programs that it was found to have
        self.run_id = ""  # the lock sets it: the mark of all that this run's commands start

    def handshake(self) -> bool:
        """Check that the host has the required tools. Returns whether its boot id is unchanged.

        The first time, the boot id is learnt. Raises LabError or HostUnreachable.
        """
        script = f'no=$({LACKING}); [ -z "$no" ] || {{ echo "$no" >&2; exit 3; }}; cat {BOOT_ID}'
        needed = NEEDED.split()
        result = self.sh(script, *needed, ok=ANY)
        if result.rc == 3:
            self._require_none([name for name in needed if name in result.err.split()])
        if result.rc != 0:
            hint = None
            if self._transport.become and "sudo" in result.err:
                hint = "the harness uses 'sudo -n': let this user run sudo without a password"
            raise HostUnreachable(
                f"Host '{self.name}' does not run commands (exit status {result.rc})."
                f"{tail(result)}",
                result=result,
                hint=hint,
            )
        boot = boot_id(self.name, result.out)
        self.boot_id = self.boot_id or boot
        return boot == self.boot_id

    def lacking(self, programs: Collection[str]) -> list[str]:
        """Those of some programs that the host does not have; it is asked once for each."""
        asked = sorted({*programs} - self._has)
        if not asked:
            return []
        missing = self.sh(LACKING, *asked, probe=True).out.split()
        self._has |= {*asked} - {*missing}
        return missing

    def require(self, programs: Collection[str]) -> None:
        """Raise ProgramMissing, which names them all, where the host lacks some programs."""
        self._require_none(self.lacking(programs))

    def _require_none(self, missing: Sequence[str]) -> None:
        if missing:
            raise ProgramMissing(
                f"Host '{self.name}' lacks programs that are needed: {', '.join(missing)}.",
                hint=advice(missing),
            )

    def run(
        self,
        *argv: str,
        timeout: float = 60,
        ok: Collection[int] = (0,),
        input: str | bytes | IO[bytes] | None = None,
        env: Mapping[str, str] | None = None,
        cwd: str | None = None,
        probe: bool = False,
        on_line: OnLine | None = None,
    ) -> Result:
        """Run a command and return its result.

        `timeout` (seconds, times `pace`) is enforced on the host and ends the whole process group.
        `ok` lists the exit statuses that are an answer. `probe`: the command changes nothing, so it
        is repeated, once, after a lost connection. An `input` that is an open file is read by the
        command itself, from its current position. Raises HostUnreachable, CommandTimeout,
        ProgramMissing or CommandFailed.

            kernel = host.run("uname", "-r", probe=True).out.strip()
        """
        if not argv:
            raise ValueError("a command needs at least its name")
        words = [*env_argv(env, cwd), *argv]
        data = encode(input) if isinstance(input, str) else input
        generation = self._connection.made
        try:
            return self._once(words, timeout, ok, data, on_line)
        except HostUnreachable:
            if not probe:
                raise
            self._connection.reconnect(generation)
        return self._once(words, timeout, ok, data, on_line)

    def ask(self, *argv: str, **options: Any) -> Result:
        """Run a command that changes nothing; its result however it ends, also for lack of it."""
        try:
            return self.run(*argv, ok=ANY, probe=True, **options)
        except ProgramMissing as error:
            if error.result is None:
                raise
            return error.result

    def _once(
        self,
        words: Sequence[str],
        timeout: float,
        ok: Collection[int],
        data: bytes | IO[bytes] | None,
        on_line: OnLine | None,
    ) -> Result:
        self._connection.check()
        generation = self._connection.made
        mark = (TOKEN, f"{self.run_id}.{uuid.uuid4().hex}")
        token = "=".join(mark)
        far = deadline_argv(words, self.paced(timeout))
        sweep = sweep_argv(token, self._transport.strays)
        started = time.monotonic()
        try:
            with self.active.running(brief(words)):
                result = execute(
                    self._transport.argv(far, mark=mark, sweep=sweep),
                    hard_timeout=self.paced(timeout + HARD_MARGIN) + KILL_AFTER,
                    input=data,
                    on_line=on_line,
                    display_argv=words,
                )
            self._judge(result, timeout, ok)
        except BaseException as error:
            self._record_failure(error, words, time.monotonic() - started)
            if isinstance(error, HostUnreachable):
                self._connection.connection_lost(token, generation)
            elif isinstance(error, CommandTimeout) or not isinstance(error, Exception):
                self._connection.end(token)
            raise
        self.trace.command(self.name, result)
        return result

    def _judge(self, result: Result, timeout: float, ok: Collection[int]) -> None:
        """Raise the error that this result means, if it is not an answer."""
        if why := self._transport.lost(result):
            raise HostUnreachable(
                f"Host '{self.name}' was lost during '{result.brief}': {why}", result=result
            )
        if hit_deadline(result, self.paced(timeout)):
            raise CommandTimeout(
                f"Command '{result.brief}' on '{self.name}' was still running after"
                f" {self.paced_words(timeout)} and was stopped.{tail(result)}",
                result=result,
            )
        require_program(result, self.name, ok)
        if result.rc not in ok:
            raise CommandFailed(
                f"Command '{result.brief}' on '{self.name}' ended with exit status"
                f" {result.rc}.{tail(result)}",
                result=result,
            )

    def _record_failure(
        self, error: BaseException, words: Sequence[str], seconds: float = 0.0
    ) -> None:
        result = error.result if isinstance(error, CommandError) else None
        if result is None:
            result = Result(tuple(words), -1, "", "", seconds, 0, 0)
        self.trace.command(self.name, result, error=type(error).__name__)

    def paced(self, seconds: float) -> float:
        """A time limit in seconds, multiplied by this host's pace."""
        return seconds * self.pace

    def paced_words(self, seconds: float) -> str:
        """The same in words, with the pace that it comes from."""
        how = f" ({seconds:g} s x {self.pace:g}, the pace of '{self.name}')"
        return f"{round(self.paced(seconds), 1):g} s{how if self.pace > 1 else ''}"

    def ensure_clean(self) -> None:
        """Restore a lost connection and end the commands that were lost with it.

        Does nothing where nothing was lost. Raises HostUnreachable, or LabError when a command
        cannot be ended.
        """
        self._connection.ensure_clean()

    def sh(self, script: str, *args: str, **options: Any) -> Result:
        """Run a constant script by `sh -euc`; `args` are its "$1", "$2", ... Options as `run`."""
        return self.run("sh", "-euc", script, "sh", *args, **options)

    def read(self, path: str) -> str:
        """A file's content; at most 1 MiB of it, else LabError, so that no tail is taken for it."""
        result = self.run("cat", "--", path, probe=True)
        if len(encode(result.out)) != result.out_bytes:
            raise LabError(f"File '{path}' has {result.out_bytes} bytes, too many to read here.")
        return result.out

    def write(self, path: str, data: str | bytes, mode: int = 0o644) -> None:
        """Replace a file at once, on disk before this returns: nobody sees half of it."""
        content = encode(data)
        self.sh(REPLACE, path, f"{mode:o}", str(len(content)), input=content)

    def put(self, local: Path, remote: str, mode: int = 0o644, *, timeout: float = 1800) -> None:
        """Copy a file of this machine to the host within `timeout` seconds, at once as `write`."""
        with local.open("rb") as stream:
            size = os.fstat(stream.fileno()).st_size
            self.sh(REPLACE, remote, f"{mode:o}", str(size), input=stream, timeout=timeout)

    def exists(self, path: str) -> bool:
        """Whether there is anything at `path` (a dangling link is something)."""
        return self.sh('[ -e "$1" ] || [ -L "$1" ]', path, ok=(0, 1), probe=True).rc == 0

    def forward(
        self, address: str, port: int
    ) -> contextlib.AbstractContextManager[tuple[str, int]]:
        """Reach address:port of the host's network at the (address, port) that this yields."""
        return self._transport.forward(address, port)

    @property
    def login(self) -> str:
        """How a person gets to this host: a line for the shell, or 'this machine'."""
        return self._transport.login


@contextlib.contextmanager
def _opened(
    transport: Transport, trace: Trace | None, connect: Callable[[], None]
) -> Iterator[Host]:
    try:
        connect()
        host = Host(transport, trace or Trace(None))
        host.handshake()
        yield host
    finally:
        transport.close()


def open_local(
    trace: Trace | None = None, *, become: bool | None = None
) -> contextlib.AbstractContextManager[Host]:
    """This machine; by sudo -n where we are not root, unless `become` says otherwise."""
    transport = LocalTransport(become=os.geteuid() != 0 if become is None else become)
    return _opened(transport, trace, lambda: None)


def open_ssh(
    endpoint: SshEndpoint,
    name: str | None = None,
    trace: Trace | None = None,
    *,
    become: bool | None = None,
    options: Sequence[str] = (),
    why: Callable[[], str | None] = lambda: None,
) -> contextlib.AbstractContextManager[Host]:
    """A host by ssh, with one master connection that is closed at the end.

    `options` are further ssh options ("Name=value"). `why` is asked when the connection is lost:
    it may know more than ssh does of what became of the host. Raises HostUnreachable.
    """
    transport = SshTransport(endpoint, name=name, become=become, options=options, why=why)
    return _opened(transport, trace, transport.connect)


def open_host(
    target: Target, *, trace: Trace | None = None, become: bool | None = None
) -> contextlib.AbstractContextManager[Host]:
    """The host of a profile's target; kinds 'local' and 'ssh'. `become` as `open_local`."""
    if target.kind == "local":
        return open_local(trace, become=become)
    if target.kind == "ssh":
        return open_ssh(target.endpoint(), trace=trace, become=become)
    raise LabError(
        f"Target '{target.kind}' has to be resolved to an ssh endpoint before it is opened."
    )
