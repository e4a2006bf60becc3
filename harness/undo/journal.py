"""The journal: every change is written down on the host, with its undo, before it is made.

`<state>/journal/<run-id>.jsonl`, one JSON object per line: a versioned header, then entries, then
marks of what has been undone. A line is on disk before `record` returns. A last line without an
end is of a change that was never begun, and is ignored.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from harness.errors import LabError, Refused
from harness.host.host import ANY, Host
from harness.undo.lock import STATE_DIR, current_owner, secure

VERSION = 1
UNDO_TIMEOUT = 300.0  # seconds for one undo command (an unmount may have to flush gigabytes)

# $1 journal, $2 bytes. A connection that breaks looks like the end of the line over there, and a
# disk gets full in the middle of one: half a line must not stand where another one may follow. So
# it is cut off, by the next one where this one is killed.
_APPEND = """
umask 077
trap 'rm -f "$1.new"' EXIT
cat >"$1.new"; n=$(stat -c %s "$1.new")
[ "$n" = "$2" ] || { echo "only $n of $2 bytes have come" >&2; exit 1; }
touch "$1"
whole=$(head -n "$(wc -l <"$1")" "$1" | wc -c)
truncate -s "$whole" "$1"
cat "$1.new" >>"$1" && sync "$1" "${1%/*}" || { truncate -s "$whole" "$1"; exit 1; }
"""
_CUT = 'truncate -s "$2" "$1"; sync "$1"'
_SAVE = """
umask 077
if [ -d "$1" ] && [ ! -L "$1" ]; then exit 4; fi
if [ ! -e "$1" ] && [ ! -L "$1" ]; then exit 3; fi
mkdir -p -- "${2%/*}"
cp -a --no-dereference -- "$1" "$2"
sync -f "${2%/*}"
"""


class JournalError(LabError):
    """A journal that cannot be written, or a file that it cannot keep."""


class JournalUnreadable(JournalError, Refused):
    """A journal that this version cannot read; what it lists is not undone, so the run stops."""


@dataclass(frozen=True)
class Entry:
    """One change: which stage makes it, what it is, and the commands that take it back."""

    id: int
    stage: str
    what: str
    undo: tuple[tuple[str, ...], ...]
    when: tuple[str, ...] | None
    durable: bool


class Journal:
    """The journal of one run on one host."""

    def __init__(self, host: Host, run_id: str, state: str = STATE_DIR) -> None:
        self.host = host
        self.run_id = run_id
        self.state = state
        self.directory = f"{state}/journal"
        self.path = f"{self.directory}/{run_id}.jsonl"
        self.backups = f"{self.directory}/{run_id}.d"
        self.header: dict[str, Any] = {}
        self.entries: list[Entry] = []
        self.done: set[int] = set()

    @classmethod
    def create(cls, host: Host, run_id: str, state: str = STATE_DIR) -> Journal:
        """Begin the journal of a new run."""
        journal = cls(host, run_id, state)
        secure(host, journal.directory)
        if host.exists(journal.path):
            raise JournalError(f"Run '{run_id}' has a journal on '{host.name}' already.")
        journal.header = {"journal": VERSION, **asdict(current_owner(host, run_id))}
        journal._append(journal.header)
        return journal

    @classmethod
    def load(cls, host: Host, run_id: str, state: str = STATE_DIR) -> Journal:
        """Read the journal of an earlier run; JournalUnreadable when this version cannot."""
        journal = cls(host, run_id, state)
        secure(host, journal.directory)
        text = host.sh('cat -- "$1"', journal.path, probe=True, timeout=120).out
        whole, _, torn = text.rpartition("\n")
        for number, line in enumerate(whole.splitlines(), 1):
            journal._parse(number, line)
        if not journal.header and whole:
            raise JournalUnreadable(f"Journal '{journal.path}' has no header.")
        if torn:
            size = len(whole.encode()) + 1 if whole else 0
            host.sh(_CUT, journal.path, str(size))
        return journal

    def _parse(self, number: int, line: str) -> None:
        try:
            data = json.loads(line)
            if not isinstance(data, dict):
                raise ValueError("expected an object")
            if number == 1:
                self._check_version(data)
                self.header = data
            elif "done" in data:
                self.done.add(int(data["done"]))
            else:
                when = data["when"]
                undo = tuple(tuple(map(str, argv)) for argv in data["undo"])
                guard = None if when is None else tuple(map(str, when))
                fields = {key: data[key] for key in ("id", "stage", "what", "durable")}
                self.entries.append(Entry(undo=undo, when=guard, **fields))
        except (ValueError, KeyError, TypeError) as error:
            raise JournalUnreadable(
                f"Journal '{self.path}' on '{self.host.name}' cannot be read: line {number}:"
                f" {type(error).__name__}: {error}"
            ) from error

    def _check_version(self, header: dict[str, Any]) -> None:
        if header.get("journal") != VERSION:
            raise JournalUnreadable(
                f"Journal '{self.path}' on '{self.host.name}' has version"
                f" {header.get('journal')!r}; this harness reads version {VERSION}.",
                hint="recover with the version of the harness that wrote it",
            )

    def _append(self, data: dict[str, Any]) -> None:
        line = json.dumps(data) + "\n"
        self.host.sh(_APPEND, self.path, str(len(line)), input=line)

    def record(
        self,
        stage: str,
        what: str,
        undo: Sequence[Sequence[str]],
        when: Sequence[str] | None = None,
        durable: bool = False,
    ) -> None:
        """Write down a change that is about to be made; on the host's disk before this returns.

        `undo` are commands (argv each) to run in order, and must do no harm where the change did
        not come about after all; or `when` is a command that ends with 0 where it did.
        """
        for argv in [*undo, *([when] if when is not None else [])]:
            if isinstance(argv, str) or not argv or not all(isinstance(a, str) for a in argv):
                raise TypeError(f"an undo is a list of commands, each a list of words: {argv!r}")
        entry = Entry(
            id=len(self.entries) + 1,
            stage=stage,
            what=what,
            undo=tuple(tuple(argv) for argv in undo),
            when=None if when is None else tuple(when),
            durable=durable,
        )
        self._append(asdict(entry))
        self.entries.append(entry)
        self.host.trace.event(
            "change", id=entry.id, stage=stage, what=what, durable=durable, run=self.run_id
        )

    def save_file(self, stage: str, path: str, durable: bool = False) -> None:
        """Back up a file that is about to be changed or made: bytes, mode and owner.

        The undo restores it in one step (rename), or removes it where there was none. Raises
        JournalError for a directory, or where the copy fails.
        """
        backup = f"{self.backups}/{uuid.uuid4().hex}"
        result = self.host.sh(_SAVE, path, backup, ok=ANY, timeout=UNDO_TIMEOUT)
        if result.rc == 3:
            self.record(stage, f"make '{path}'", [["rm", "-f", "--", path]], durable=durable)
            return
        if result.rc != 0:
            why = "it is a directory" if result.rc == 4 else result.said
            raise JournalError(f"File '{path}' cannot be kept before it is changed: {why}")
        fresh = f"{path}.restored"
        undo = [
            ["cp", "-a", "--no-dereference", "--remove-destination", "--", backup, fresh],
            ["mv", "-fT", "--", fresh, path],
        ]
        self.record(stage, f"change '{path}'", undo, durable=durable)

    def pending(self, durable: bool = True) -> list[Entry]:
        """The entries that are not undone yet, the last first; with or without durable ones."""
        return [
            entry
            for entry in reversed(self.entries)
            if entry.id not in self.done and (durable or not entry.durable)
        ]

    def mark_undone(self, entry: Entry, outcome: str) -> None:
        """Note that an entry is undone, or did not need to be; `outcome` says which."""
        self._append({"done": entry.id, "outcome": outcome})
        self.done.add(entry.id)

    def remove(self) -> None:
        """Delete the journal and its backups from the host; nothing may be pending."""
        self.host.run("rm", "-rf", "--", self.backups)
        self.host.run("rm", "-f", "--", self.path)


def journals(host: Host, state: str = STATE_DIR) -> list[str]:
    """The ids of the runs that left a journal on the host, the newest first."""
    directory = f"{state}/journal"
    result = host.sh(
        '[ -d "$1" ] || exit 0; cd "$1"; ls -t1 | sed -n "s/\\.jsonl$//p"', directory, probe=True
    )
    return result.out.split()


def load_all(host: Host, state: str = STATE_DIR) -> list[Journal]:
    """The journals of all runs that left one, the newest first; raises as `Journal.load`."""
    return [Journal.load(host, run, state) for run in journals(host, state)]
