"""The undo: changes of a journal are taken back, the last first, whatever fails on the way."""

from __future__ import annotations

import shlex
import signal
import time
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from harness.errors import RECOVER, LabError
from harness.host.command import CommandError, HostUnreachable
from harness.host.host import ANY, Host
from harness.text import head
from harness.undo.journal import UNDO_TIMEOUT, Entry, Journal, load_each, refuse
from harness.undo.lock import STATE_DIR, end_commands


@dataclass(frozen=True)
class UndoResult:
    """The result for one entry: 'undone', 'not needed' (its guard said so) or 'failed'."""

    run_id: str
    entry: Entry
    outcome: str
    error: str = ""
    seconds: float = 0.0

    @property
    def ok(self) -> bool:
        """Whether the change is not on the host any more."""
        return self.outcome != "failed"

    def __str__(self) -> str:
        text = f"[{self.entry.stage}] {self.entry.what}: {self.outcome}"
        return f"{text}: {self.error}" if self.error else text


SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)  # that end a run, which is then undone
Tell = Callable[[UndoResult], None]  # called for each entry as soon as its result is there


def undo(journal: Journal, durable: bool, tell: Tell = lambda _: None) -> list[UndoResult]:
    """Take back every pending change in reverse; one that fails is reported and stays pending.

    Durable changes are kept unless `durable`. A journal with nothing left is removed. Where the
    host is lost on the way, it reconnects and tries the entry once more. Where that fails, or a
    lost command cannot be ended, nothing more is taken back: every remaining entry gets a failed
    result, and then that error is raised.
    """
    results: list[UndoResult] = []
    stopped = _unreachable(journal.host)
    for entry in journal.pending(durable):
        started = time.monotonic()
        outcome, error = "failed", stopped
        if stopped is None:
            outcome, error, stopped = _attempt(journal, entry)
        seconds = time.monotonic() - started
        text = _told(journal, entry, error) if error is not None else ""
        result = UndoResult(journal.run_id, entry, outcome, text, seconds)
        journal.tell_undone(entry, outcome, result.error or None, seconds)
        results.append(result)
        tell(result)
    if stopped is not None:
        raise stopped
    if durable:  # what the digests speak of is gone
        journal.host.run("rm", "-rf", "--", f"{journal.state}/stages")
    if not journal.pending():
        journal.remove()
    return results


def _unreachable(host: Host) -> Exception | None:
    """Restore a lost connection, also an unnoticed loss; the error where that fails."""
    try:
        host.run("true", probe=True)
    except Exception as error:
        return error
    return None


def _attempt(journal: Journal, entry: Entry) -> tuple[str, Exception | None, Exception | None]:
    """Outcome, the error if it failed, and why nothing more can be tried, if so.

    An undo is repeatable by contract, so an entry that was under way when the host was lost is
    begun again.
    """
    for again in (True, False):
        try:
            journal.host.ensure_clean()
        except Exception as error:
            return "failed", error, error
        try:
            return _take_back(journal, entry), None, None
        except HostUnreachable as error:
            failure: Exception = error
            if not again:
                break
        except Exception as error:  # whatever it is: the other entries have their turn
            return "failed", error, None
    return "failed", failure, None


def _take_back(journal: Journal, entry: Entry) -> str:
    host = journal.host
    outcome = "undone"
    if entry.when is not None and host.run(*entry.when, ok=ANY, timeout=UNDO_TIMEOUT).rc != 0:
        outcome = "not needed"
    else:
        for argv in entry.undo:
            host.run(*argv, timeout=UNDO_TIMEOUT)
    journal.mark_undone(entry, outcome)
    return outcome


def take_back(journal: Journal, entry: Entry) -> None:
    """Take one change back before the run's end; where that fails it raises, and stays pending."""
    started = time.monotonic()
    outcome = _take_back(journal, entry)
    journal.tell_undone(entry, outcome, seconds=time.monotonic() - started)


def _told(journal: Journal, entry: Entry, error: Exception) -> str:
    """What an entry failed for, without the text of scripts, and what a person may type instead."""
    text = str(error) if isinstance(error, LabError) else f"{type(error).__name__}: {error}"
    if isinstance(error, HostUnreachable):
        return text  # that is told once more, with what helps
    result = error.result if isinstance(error, CommandError) else None
    if result is not None:
        text = text.replace(result.line, " ".join(map(_brief, result.argv)))
    if any("\n" in word for argv in entry.undo for word in argv):
        typed = shlex.join(["grep", f'"id": {entry.id},', journal.path]) + "   # its 'undo'"
    else:
        typed = "; ".join(map(shlex.join, entry.undo))
    return f"{text}\nby hand, as root on '{journal.host.name}': {typed}"


def _brief(word: str) -> str:
    """A word for a message: of a script it is enough that it is one."""
    return "'...'" if "\n" in word else head(shlex.quote(word), 200)


def recover(
    host: Host, state: str = STATE_DIR, durable: bool = False, tell: Tell = lambda _: None
) -> list[UndoResult]:
    """Finish the undo of every run that left one, the newest first.

    The caller holds the host's lock (`harness.undo.lock.acquire` with `recover=True`), which says
    that none of those runs is alive; a command of theirs may be, and is ended first. With `durable`
    also what was kept for the next run. Raises as `undo`, and Refused for journals that cannot be
    read, after every other had its turn.
    """
    loaded, refused = load_each(host, state)
    results: list[UndoResult] = []
    stopped: Exception | None = None
    for journal in loaded:
        try:
            if journal.pending(durable=False):
                end_commands(host, journal.run_id)
            results += undo(journal, durable, tell)
        except Exception as error:
            stopped = stopped or error
    if stopped is not None:
        raise stopped
    refuse(refused)
    return results


@contextmanager
def deferred_signals(say: Callable[[str], None]) -> Iterator[None]:
    """Within the block Ctrl-C, SIGTERM and SIGHUP are answered with a line, and end nothing."""

    def answer(signum: int, frame: types.FrameType | None) -> None:
        say(f"[undo] still putting the host back; after kill -9: {RECOVER}")

    heard = [signum for signum in SIGNALS if signal.getsignal(signum) is not signal.SIG_IGN]
    before = {signum: signal.signal(signum, answer) for signum in heard}
    try:
        yield
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)
