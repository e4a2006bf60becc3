"""Results of commands, their deadlines, and the errors for three kinds of failure.

Nothing here knows how a host is reached: a transport (`harness.host.transport`) turns an argv for
the host into an argv for this machine, and `harness.host.process` runs that.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from harness.errors import LabError
from harness.host.programs import CONTAINER, absent
from harness.host.shape import read
from harness.text import CUT, end, end_of

T = TypeVar("T")

CAPTURE = 1 << 20  # bytes kept of each stream
KILL_AFTER = 5.0  # seconds between TERM and KILL on the host
HARD_MARGIN = 20.0  # seconds that this side waits beyond the deadline on the host
PROGRAM = 1000  # characters of a word; of a longer program a message shows the first line
MESSAGE_TAIL = 2000  # characters of a stream that an error message shows

OnLine = Callable[[str], None]

_USAGE = re.compile(r"^Error: (.+)\n(?:Usage:\n|Run ')(?:.*\n)*?\1$", re.MULTILINE)
_ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True)
class Result:
    """A command that ended. ``out`` and ``err`` are the last MiB; ``*_bytes`` count all of it.

    What is not whole begins with a mark, `harness.text.CUT`.

    Bytes that are no UTF-8 survive as surrogate escapes. ``seconds`` is wall time seen from here.
    """

    argv: tuple[str, ...]
    rc: int
    out: str
    err: str
    seconds: float
    out_bytes: int
    err_bytes: int

    @property
    def line(self) -> str:
        """The command as a line that can be pasted into the host's shell."""
        return shlex.join(self.argv)

    @property
    def brief(self) -> str:
        """The same for a message."""
        return brief(self.argv)

    @property
    def said(self) -> str:
        """Its stderr; where that is empty, its exit status in words."""
        return self.err.strip() or f"exit status {self.rc}, and nothing on stderr"

    def json(self, shape: type[T], *, hint: str | None = None, clause: str | None = None) -> T:
        """Its stdout, as JSON of a shape (`harness.host.shape`); else LabError."""
        wanted = f"Command '{self.line}' should have printed JSON"
        return read(self.out, shape, wanted, hint=hint, clause=clause)


def brief(argv: Sequence[str]) -> str:
    """A command as a line for a message; of a long program in its words the first line."""

    def shown(word: str) -> str:
        program = len(word) > PROGRAM and "\n" in word
        return word.strip().partition("\n")[0] + CUT if program else word

    return shlex.join(map(shown, argv))


class CommandError(LabError):
    """A command that did not give its answer; `result` is there where it ended at all."""

    def __init__(
        self, message: str, *, result: Result | None = None, hint: str | None = None
    ) -> None:
        super().__init__(message, hint=hint)
        self.result = result


class HostUnreachable(CommandError):
    """The host could not be asked; whether the command ran is not known."""


class HostRebooted(HostUnreachable):
    """The host is there, but in another boot than that in which the run began."""


class CommandTimeout(CommandError):
    """The command was still running at its deadline and was killed with its process group."""


class CommandFailed(CommandError):
    """The command ran and ended with a status that its caller does not accept."""


class ProgramMissing(CommandError):
    """The command, or one that it needs, is not there or cannot be executed; it did nothing.

    Not a CommandFailed, whose catchers explain what a program that has run may have met.
    """


def require_program(result: Result, host: str, ok: Collection[int]) -> None:
    """Raise ProgramMissing where a command ended for lack of a program.

    Within a container that is an answer, too, where its status is in `ok`: an image may lack what
    it likes. The host and a guest's tree are to have what they are asked for, whatever `ok`.
    """
    found = absent(result.argv, result.rc, result.err if result.err.strip() else result.out)
    if found is None or (found.where == CONTAINER and result.rc in ok):
        return
    raise ProgramMissing(
        f"{found.sentence(host)} Command '{result.brief}' needs it.{tail(result)}",
        result=result,
        hint=found.hint,
    )


def without_usage(text: str) -> str:
    """What a program said, without a usage text between its error and the same error once more.

    That is how programs with cobra end, a library for command lines in Go (cnitool since 1.3.1).
    """
    return _USAGE.sub(r"\1", text)


def tail(result: Result) -> str:
    """The end of both streams, for an error message; empty when the command said nothing."""
    parts = []
    for name, text, size in (
        ("stderr", result.err, result.err_bytes),
        ("stdout", result.out, result.out_bytes),
    ):
        if text.strip():
            cut = f" (the end of {size} bytes)" if size > MESSAGE_TAIL else ""
            shown = end(without_usage(text.rstrip()[-10 * MESSAGE_TAIL :]), MESSAGE_TAIL)
            parts.append(f"\n{name}{cut}:\n{shown}")
    return "".join(parts)


def decode(data: bytes) -> str:
    """Bytes of a stream as text that can be turned back into the very same bytes."""
    return data.decode("utf-8", "surrogateescape")


def encode(data: str | bytes) -> bytes:
    """The reverse of `decode`."""
    return data if isinstance(data, bytes) else data.encode("utf-8", "surrogateescape")


def env_argv(env: Mapping[str, str] | None, cwd: str | None) -> list[str]:
    """The words before an argv that give it variables and a folder; none where it needs neither."""
    if not env and cwd is None:
        return []
    for name in env or {}:
        if not _ENV_NAME.fullmatch(name):
            raise ValueError(f"'{name}' is no name for an environment variable")
    words = ["env"] if cwd is None else ["env", "-C", cwd]
    return [*words, *(f"{name}={value}" for name, value in (env or {}).items())]


def deadline_argv(argv: Sequence[str], timeout: float) -> list[str]:
    """`argv` under coreutils' timeout, which kills the process group at the deadline.

    Not with --verbose: where the connection is gone, it would die of its own message (SIGPIPE)
    before it sends the signal.
    """
    return ["timeout", "-k", f"{KILL_AFTER:g}", f"{timeout:.3f}", *argv]


def hit_deadline(result: Result, timeout: float) -> bool:
    """Whether timeout(1) ended the command, and not the command itself with the same status.

    Time tells: the host's clock may run a little slower than ours, an emulated machine's even
    more, hence nine tenths.
    """
    if result.rc == 137:
        return result.seconds >= 0.9 * (timeout + KILL_AFTER)
    return result.rc == 124 and result.seconds >= 0.9 * timeout


LINE_LIMIT = 1 << 16  # bytes after which a line without an end is handed on all the same


class Capture:
    """The last bytes of a stream, and how many there were; whole lines go to `on_line`.

    What `on_line` raises is kept as `error`, and it is not called again: an observer must not stop
    a pipe from being drained.
    """

    def __init__(self, on_line: OnLine | None) -> None:
        self.total = 0
        self.error: Exception | None = None
        self._kept = bytearray()
        self._line = b""
        self._on_line = on_line

    def feed(self, chunk: bytes) -> None:
        """Add a chunk of the stream."""
        self.total += len(chunk)
        self._kept += chunk
        if len(self._kept) > 2 * CAPTURE:
            del self._kept[:-CAPTURE]
        if self._on_line is None:
            return
        *whole, rest = re.split(rb"[\r\n]", self._line + chunk)
        for line in whole:
            self._emit(line)
        if len(rest) > LINE_LIMIT:
            self._emit(rest)
            rest = b""
        self._line = rest

    def skip(self, to: int) -> None:
        """Leave out what comes before byte `to` of the stream, as far as it has not come."""
        if to > self.total:
            self.end()
            self._kept.clear()
            self.total = to

    def end(self) -> None:
        """Call this at the end of the stream: a last line without an end is handed on, too."""
        rest, self._line = self._line, b""
        self._emit(rest)

    def text(self) -> str:
        """The end of it, at most `CAPTURE` bytes and a mark where there were more."""
        return decode(end_of(bytes(self._kept[-CAPTURE:]), cut=self.total > CAPTURE))

    def _emit(self, line: bytes) -> None:
        if self._on_line is None or not line or self.error is not None:
            return
        try:
            self._on_line(decode(line))
        except Exception as error:
            self.error = error
