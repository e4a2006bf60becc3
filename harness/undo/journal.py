"""The journal: every change is written down on the host, with its undo, before it is made.

`<state>/journal/<run-id>.jsonl`, one JSON object per line (`harness.undo.form`): a versioned
header, then entries, and marks of what has been undone. A line is on disk before `record` returns.
A last line without an end is of a change that was never begun, and is ignored.
"""

from __future__ import annotations

import json
import shlex
import uuid
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from harness.errors import LabError, Refused
from harness.host.command import CommandFailed, decode, encode
from harness.host.host import ANY, Host
from harness.undo import form
from harness.undo.form import VERSION
from harness.undo.lock import STATE_DIR, StateRefused, current_owner, secure

LIMIT = 16 << 20  # bytes of a journal that is read; a run's has some thousand lines at most
CHUNK = 1 << 19  # bytes of it that are fetched at a time
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
_PIECE = 'tail -c "+$(($2 + 1))" -- "$1" | head -c "$3"'
_CUT = 'truncate -s "$2" "$1"; sync "$1"'
_IS = '[ -f "$1" ] && [ "$(sha256sum <"$1" | cut -c 1-64)" = "$2" ]'
_SAVE = """
umask 077
if [ -d "$1" ] && [ ! -L "$1" ]; then exit 4; fi
if [ ! -e "$1" ] && [ ! -L "$1" ]; then exit 3; fi
mkdir -p -- "${2%/*}"
cp -a --no-dereference -- "$1" "$2"
sync -f "${2%/*}"
"""
# $1 folder. When each journal was changed, and its name.
_LIST = """
cd -- "$1" 2>/dev/null || exit 0
stat --printf '%.9Y/%n\\0' -- *.jsonl 2>/dev/null || true
"""

# $1 journal: what it is, whose, its mode and size; then who we are.
_TRUST = 'stat -c "%F/%u/%a/%s" -- "$1"; id -u'
BY_HAND = (
    "nothing of it is undone: look at what its changes and their 'undo' say, put the host back by"
    " hand, and move that file away"
)


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
        self._last = 0  # the highest id: one whose line may have come about is not used again

    @classmethod
    def create(cls, host: Host, run_id: str, state: str = STATE_DIR) -> Journal:
        """Begin the journal of a new run."""
        journal = cls(host, run_id, state)
        secure(host, state)
        if host.exists(journal.path):
            raise JournalError(f"Run '{run_id}' has a journal on '{host.name}' already.")
        journal.header = {"journal": VERSION, **asdict(current_owner(host, run_id))}
        journal._append(journal.header)
        return journal

    @classmethod
    def load(cls, host: Host, run_id: str, state: str = STATE_DIR) -> Journal:
        """Read the journal of an earlier run.

        Raises JournalUnreadable where this version cannot, StateRefused where others could have
        written it.
        """
        journal = cls(host, run_id, state)
        secure(host, state)
        try:
            content = journal._content(journal._trusted())
        except CommandFailed as error:
            raise journal._unreadable(error.result.said if error.result else "") from error
        whole, end, torn = content.rpartition(b"\n")
        for number, line in enumerate(decode(whole).split("\n") if end else [], 1):
            try:
                journal._parse(number, line)
            except ValueError as error:
                raise journal._unreadable(f"line {number}: {error}") from error
        if torn:
            host.sh(_CUT, journal.path, str(len(whole + end)))
        return journal

    def _trusted(self) -> int:
        """The journal's size in bytes, where nobody else can have written it."""
        if not form.RUN.fullmatch(self.run_id):
            raise self._unreadable("its name is not that of a run with '.jsonl' behind it")
        facts, me = self.host.sh(_TRUST, self.path, probe=True).out.split("\n")[:2]
        kind, owner, mode, size = facts.split("/")
        if not kind.startswith("regular"):
            raise self._unreadable(f"it is a {kind}, and a file was expected")
        why = f"belongs to user id {owner}" if owner != me else f"has mode {mode}"
        if owner != me or int(mode, 8) & 0o022:
            raise StateRefused(
                f"Journal '{self.path}' on '{self.host.name}' cannot be trusted: it {why}.",
                hint=self._by_hand,
            )
        if int(size) > LIMIT:
            raise self._unreadable(f"it has more than {LIMIT >> 20} MiB")
        return int(size)

    def _content(self, size: int) -> bytes:
        content = b""
        while len(content) < size:
            words = (self.path, str(len(content)), str(CHUNK))
            piece = encode(self.host.sh(_PIECE, *words, probe=True, timeout=120).out)
            if not piece:  # of the two programs only the last one's status counts
                raise self._unreadable(f"only {len(content)} of its {size} bytes can be read")
            content += piece
        return content

    @property
    def _by_hand(self) -> str:
        return f"{BY_HAND}: {shlex.join(['less', self.path])}"

    def _unreadable(self, why: str) -> JournalUnreadable:
        return JournalUnreadable(
            f"Journal '{self.path}' on '{self.host.name}' cannot be read: {why}.",
            hint=self._by_hand,
        )

    def _parse(self, number: int, line: str) -> None:
        data = form.parse(line)
        if number == 1:
            self._check_version(data)
            form.hold(data, form.HEADER)
            if data["run"] != self.run_id:
                raise ValueError(f"'run' has to be the run of the file's name, '{self.run_id}'")
            self.header = data
        elif "done" in data:
            form.hold(data, form.DONE)
            if data["done"] not in {entry.id for entry in self.entries}:
                raise ValueError("'done' has to be the id of an entry above it")
            self.done.add(data["done"])
        else:
            form.hold(data, form.ENTRY)
            if data["id"] <= self._last:
                raise ValueError("'id' has to be above the ids before it")
            self._last = data["id"]
            self.entries.append(_entry(data))

    def _check_version(self, header: dict[str, Any]) -> None:
        version = header.get("journal")
        if type(version) is not int or version != VERSION:  # 1.0 and true equal 1
            raise JournalUnreadable(
                f"Journal '{self.path}' on '{self.host.name}' has version {version!r}; this"
                f" harness reads version {VERSION}.",
                hint="recover with the version of the harness that wrote it",
            )

    def _append(self, data: dict[str, Any]) -> None:
        line = json.dumps(data) + "\n"
        try:
            self.host.sh(_APPEND, self.path, str(len(line)), input=line)
        except CommandFailed as error:
            said = error.result.said if error.result else error.message
            raise CommandFailed(
                f"Journal '{self.path}' on '{self.host.name}' cannot be written: {said}",
                result=error.result,
                hint=f"is there room, and may it be written? {shlex.join(['df', self.directory])}",
            ) from error

    def record(
        self,
        stage: str,
        what: str,
        undo: Sequence[Sequence[str]],
        when: Sequence[str] | None = None,
        durable: bool = False,
    ) -> Entry:
        """Write down a change that is about to be made; on the host's disk before this returns.

        `undo` are commands (argv each) to run in order, and must do no harm where the change did
        not come about after all; or `when` is a command that ends with 0 where it did.
        """
        self._last += 1
        fields: dict[str, Any] = {"id": self._last, "stage": stage, "what": what, "undo": undo}
        fields |= {"when": when, "durable": durable}
        try:
            form.hold(fields, form.ENTRY)
        except ValueError as error:
            raise TypeError(f"no entry of a journal: {error}: {undo!r}") from error
        entry = _entry(fields)
        self._append(asdict(entry))
        self.entries.append(entry)
        self.host.trace.event(
            "change", id=entry.id, stage=stage, what=what, durable=durable, run=self.run_id
        )
        return entry

    def keep(self, entry: Entry, what: str, undo: Sequence[Sequence[str]]) -> None:
        """Keep for later runs what an entry has made, now that it is known by its identity.

        A durable entry takes the place of the one that was written before the change: `what` names
        the identity, which `Run.is_ours` is asked for, and `undo` takes nothing else away.
        """
        self.record(entry.stage, what, undo, durable=True)
        self.mark_undone(entry, "not needed")
        self.tell_undone(entry, "not needed")

    def save_file(
        self, stage: str, path: str, durable: bool = False, *, sha256: str | None = None
    ) -> None:
        """Back up a file that is about to be changed or made: bytes, mode and owner.

        The undo restores it in one step (rename), or removes it where there was none; with the
        `sha256` of what is put there, only as long as that is there: somebody else's file stays.
        Raises JournalError for a directory, or where the copy fails.
        """
        when = None if sha256 is None else ["sh", "-c", _IS, "sh", path, sha256]
        backup = f"{self.backups}/{uuid.uuid4().hex}"
        result = self.host.sh(_SAVE, path, backup, ok=ANY, timeout=UNDO_TIMEOUT)
        if result.rc == 3:
            self.record(stage, f"make '{path}'", [["rm", "-f", "--", path]], when, durable)
            return
        if result.rc != 0:
            why = "it is a directory" if result.rc == 4 else result.said
            raise JournalError(f"File '{path}' cannot be kept before it is changed: {why}")
        fresh = f"{path}.restored"
        undo = [
            ["cp", "-a", "--no-dereference", "--remove-destination", "--", backup, fresh],
            ["mv", "-fT", "--", fresh, path],
        ]
        self.record(stage, f"change '{path}'", undo, when, durable)

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

    def tell_undone(
        self, entry: Entry, outcome: str, error: str | None = None, seconds: float = 0.0
    ) -> None:
        """Put into the record what became of an entry."""
        self.host.trace.event(
            "undo",
            run=self.run_id,
            id=entry.id,
            stage=entry.stage,
            what=entry.what,
            outcome=outcome,
            error=error,
            seconds=round(seconds, 3),
        )

    def remove(self) -> None:
        """Delete the journal and its backups from the host; nothing may be pending."""
        self.host.run("rm", "-rf", "--", self.backups)
        self.host.run("rm", "-f", "--", self.path)


def _entry(fields: dict[str, Any]) -> Entry:
    """Of fields that are of its form."""
    when = fields["when"]
    lists = {"undo": tuple(map(tuple, fields["undo"])), "when": when if when is None else (*when,)}
    return Entry(**fields | lists)


def journals(host: Host, state: str = STATE_DIR) -> list[str]:
    """The ids of the runs that left a journal on the host, the newest first."""
    said = host.sh(_LIST, f"{state}/journal", probe=True).out
    found = [entry.split("/", 1) for entry in said.split("\0")[:-1]]
    return [name.removesuffix(".jsonl") for _, name in sorted(found, reverse=True)]


def load_each(host: Host, state: str = STATE_DIR) -> tuple[list[Journal], list[Refused]]:
    """The journals of all runs that left one, the newest first; and why others cannot be read."""
    loaded, refused = list[Journal](), list[Refused]()
    for run in journals(host, state):
        try:
            loaded.append(Journal.load(host, run, state))
        except (JournalUnreadable, StateRefused) as error:
            refused.append(error)
    return loaded, refused


def load_all(host: Host, state: str = STATE_DIR) -> list[Journal]:
    """The same; raises where there is one that cannot be read."""
    loaded, refused = load_each(host, state)
    refuse(refused)
    return loaded


def refuse(refused: Sequence[Refused]) -> None:
    """Raise the error of journals that cannot be read, if there are any; it names each of them."""
    if len(refused) == 1:
        raise refused[0]
    if refused:
        raise JournalUnreadable("\n".join(map(str, refused)))
