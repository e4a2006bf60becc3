"""All runs of a lab over time, in one SQLite file; every run is fed in from its record."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from reports.history import bands
from reports.record import verdict
from reports.record.inventory import inventory
from reports.record.measures import conditions, host, measures, waived
from reports.record.reading import load
from reports.record.record import Record, RecordError

FILE = Path("runs") / "history.sqlite"  # in the folder of reports
VERSION = 3
PATIENCE = 60.0  # seconds for which another process may have the file; a twelfth to look alone
_SCHEMA = """
CREATE TABLE run (
    number INTEGER PRIMARY KEY, id TEXT UNIQUE NOT NULL, lab TEXT NOT NULL, target TEXT NOT NULL,
    started TEXT NOT NULL, seconds REAL NOT NULL, verdict TEXT NOT NULL, exit_status INTEGER,
    cause TEXT NOT NULL, digest TEXT NOT NULL
);
CREATE INDEX run_lab ON run (lab, started);
CREATE INDEX run_target ON run (target, started);
CREATE TABLE name (
    number INTEGER PRIMARY KEY, text TEXT UNIQUE NOT NULL, zh TEXT NOT NULL DEFAULT ''
);
CREATE TABLE measure (
    run INTEGER, name INTEGER, value REAL NOT NULL, waived INTEGER NOT NULL,
    PRIMARY KEY (run, name)
) WITHOUT ROWID;
CREATE TABLE step (
    run INTEGER, place INTEGER, name INTEGER NOT NULL, status TEXT NOT NULL,
    PRIMARY KEY (run, place)
) WITHOUT ROWID;
CREATE TABLE condition (run INTEGER, name INTEGER, value TEXT NOT NULL, PRIMARY KEY (run, name))
    WITHOUT ROWID;
"""
_COLUMNS = {
    "measure": ("run, name, value, waived", "?, ?"),
    "condition": ("run, name, value", "?"),
    "step": ("run, name, status, place", "?, ?"),
}


# How a stage or a test ends that was looked at: all but what was left out, blocked or cut off.
LOOKED = ("ok", "passed", "failed", "error", "expected failure", "unexpected pass")


class HistoryError(Exception):
    """A history that cannot be used, or a run that does not fit into it."""


@dataclass(frozen=True)
class Past:
    """One earlier run, as the history has it."""

    id: str
    lab: str
    started: str
    seconds: float
    verdict: str
    exit_status: int | None
    cause: str  # the first failure's sentence, or the regression's; '' where there was neither

    @property
    def good(self) -> bool:
        """Whether it ended well; not so where `--fail-on new` has let known failures pass."""
        return self.exit_status == 0 and self.verdict != verdict.FAILED


@dataclass(frozen=True)
class Point:
    """The value of a measure in one run; `waived`: it may be worse, and is left out of the band."""

    run: str
    value: float
    waived: bool


class History:
    """The runs of all labs; use `opened`."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self._db = database

    def add(self, record: Record) -> None:
        """Put a run in, or anew one that had no end when it was. Raises HistoryError."""
        known = self._db.execute(
            "SELECT number, digest, exit_status FROM run WHERE id = ?", (record.id,)
        ).fetchone()
        if known:
            number, digest, exit_status = known
            if digest == record.digest:
                return
            if exit_status is not None:
                raise HistoryError(
                    f"Run '{record.id}' is known with another record: its sha256 was {digest}."
                )
            for table in ("measure", "step", "condition"):
                self._db.execute(f"DELETE FROM {table} WHERE run = ?", (number,))
            self._db.execute("DELETE FROM run WHERE number = ?", (number,))
        self._insert(record)

    def _insert(self, record: Record) -> None:
        row = (
            *(record.id, self.lab(record), _target(record), record.started.isoformat()),
            *(record.seconds, verdict.overall(record).verdict, record.exit_status),
            *(_cause(record), record.digest),
        )
        number = self._db.execute(
            "INSERT INTO run (id, lab, target, started, seconds, verdict, exit_status, cause,"
            " digest) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            row,
        ).lastrowid
        assert number is not None
        excused = waived(record)
        values = measures(record).items()
        self._put("measure", [(number, name, value, name in excused) for name, value in values])
        self._put(
            "condition", [(number, name, value) for name, value in conditions(record).items()]
        )
        labels = [(item.label["zh"], item.name) for item in inventory(record)]
        self._db.executemany("UPDATE name SET zh = ? WHERE text = ?", labels)
        steps = enumerate(record.steps)
        self._put("step", [(number, name, status, place) for place, (name, status) in steps])

    def _put(self, table: str, rows: Sequence[tuple[object, ...]]) -> None:
        names = [(row[1],) for row in rows]
        self._db.executemany("INSERT OR IGNORE INTO name (text) VALUES (?)", names)
        columns, places = _COLUMNS[table]
        self._db.executemany(
            f"INSERT INTO {table} ({columns})"
            f" VALUES (?, (SELECT number FROM name WHERE text = ?), {places})",
            rows,
        )

    def lab(self, record: Record) -> str:
        """The lab within which a run is compared: its profile on its host.

        A run that did not get to see its host is of the lab that the profile's target was last.
        """
        name = str(record.profile["name"])
        if found := host(record):
            return name if found == "vlab" else f"{name} on {found}"
        row = self._db.execute(
            "SELECT lab FROM run WHERE target = ? ORDER BY started DESC LIMIT 1",
            (_target(record),),
        ).fetchone()
        return str(row[0]) if row else name

    def labs(self) -> list[str]:
        """The names of all labs, the one that ran last first."""
        rows = self._db.execute("SELECT lab FROM run GROUP BY lab ORDER BY max(started) DESC")
        return [lab for (lab,) in rows]

    def digest(self, run: str) -> str | None:
        """The sha256 that the record of a run had; None for one that had no end, or is unknown."""
        row = self._db.execute(
            "SELECT digest FROM run WHERE id = ? AND exit_status IS NOT NULL", (run,)
        ).fetchone()
        return row and str(row[0])

    def ended(self) -> set[str]:
        """The ids of all runs that are known to their end."""
        return {id for (id,) in self._db.execute("SELECT id FROM run WHERE exit_status NOT NULL")}

    def runs(self, lab: str, last: int = 200) -> list[Past]:
        """The newest runs of a lab, the oldest of them first."""
        rows = self._db.execute(
            "SELECT id, lab, started, seconds, verdict, exit_status, cause FROM run"
            " WHERE lab = ? ORDER BY started DESC, number DESC LIMIT ?",
            (lab, last),
        ).fetchall()
        return [Past(*row) for row in reversed(rows)]

    def lab_of(self, profile: str) -> str:
        """The lab that ran last by a profile of this name; '' where none has."""
        ours = (lab for lab in self.labs() if lab == profile or lab.startswith(f"{profile} on "))
        return next(ours, "")

    def took(self, lab: str, tests: Collection[str], last: int = 5) -> list[float]:
        """Seconds of a lab's newest good runs of just these tests."""
        found: list[float] = []
        for run in reversed(self.runs(lab)):
            ran = {name for name, _ in self.steps(run.id) if "::" in name} if run.good else set()
            if ran == {*tests}:
                found.append(run.seconds)
            if len(found) == last:
                break
        return found

    def count(self, lab: str) -> int:
        """How many runs of a lab there are."""
        (number,) = self._db.execute("SELECT count(*) FROM run WHERE lab = ?", (lab,)).fetchone()
        return int(number)

    def measures(self, lab: str, last: int = 200) -> dict[str, list[Point]]:
        """The values of each measure in the newest runs, the oldest first."""
        found: dict[str, list[Point]] = {}
        for name, run, value, excused in self._newest(lab, "measure", "value, waived", last):
            found.setdefault(name, []).append(Point(run, float(value), bool(excused)))
        return found

    def usual(self, lab: str, good: Collection[str], last: int = 200) -> dict[str, bands.Band]:
        """The bands of a lab's figures as the runs `good` have them."""
        return bands.bands(
            {
                name: [point.value for point in points if point.run in good and not point.waived]
                for name, points in self.measures(lab, last).items()
            }
        )

    def outcomes(self, lab: str, last: int = 200) -> dict[str, list[str]]:
        """Per test its statuses in the newest runs, the oldest first."""
        found: dict[str, list[str]] = {}
        for name, _, status in self._newest(lab, "step", "status", last):
            if "::" in name:
                found.setdefault(name, []).append(status)
        return found

    def seen(self, lab: str, last: int, but: str) -> dict[str, str]:
        """Per stage and test how it went when it was last looked at, run `but` left out."""
        steps = self._newest(lab, "step", "status", last)
        return {name: status for name, run, status in steps if run != but and status in LOOKED}

    def steps(self, run: str) -> list[tuple[str, str]]:
        """(name, status) of each stage and test of a run, in the order in which they ended."""
        return self._db.execute(
            "SELECT text, status FROM step JOIN name ON name.number = name"
            " JOIN run ON run.number = run WHERE run.id = ? ORDER BY place",
            (run,),
        ).fetchall()

    def conditions(self, run: str) -> dict[str, str]:
        """Under what a run took place: versions, command line, commit, ..."""
        rows = self._db.execute(
            "SELECT text, value FROM condition JOIN name ON name.number = name"
            " JOIN run ON run.number = run WHERE run.id = ?",
            (run,),
        )
        return dict(rows.fetchall())

    def labels(self) -> dict[str, str]:
        """The Chinese labels of conditions that have one, by the English ones."""
        return dict(self._db.execute("SELECT text, zh FROM name WHERE zh <> ''").fetchall())

    def _newest(self, lab: str, table: str, columns: str, last: int) -> Iterator[tuple[str, ...]]:
        """(name, run id, columns) of the newest runs, the oldest first."""
        yield from self._db.execute(
            f"SELECT text, run.id, {columns} FROM (SELECT number, id, started FROM run"
            " WHERE lab = ? ORDER BY started DESC, number DESC LIMIT ?) AS run"
            f" JOIN {table} ON run = run.number"
            " JOIN name ON name.number = name ORDER BY run.started, run.number",
            (lab, last),
        )


def _target(record: Record) -> str:
    """A profile and the address that it leads to: all that is known before a host is seen."""
    return f"{record.profile['name']} {record.profile['target'].get('address') or ''}".strip()


def _cause(record: Record) -> str:
    if record.first_failure:
        return record.first_failure.cause[0]
    found = record.facts.get("baseline", {})
    return str(found["said"][0]) if found.get("regression") else ""


@contextmanager
def opened(path: Path, *, readonly: bool = False) -> Iterator[History]:
    """The history at `path`, made if it is not there; written when the block ends well.

    One process at a time; another one waits. Raises HistoryError, and OSError for the folder.
    With `readonly` it has to be there, and is left as it is.
    """
    if not readonly:
        path.parent.mkdir(parents=True, exist_ok=True)
    where = f"{path.resolve().as_uri()}?mode={'ro' if readonly else 'rwc'}"
    try:
        patience = PATIENCE / 12 if readonly else PATIENCE
        database = sqlite3.connect(where, uri=True, timeout=patience, isolation_level=None)
        with closing(database):
            database.execute("BEGIN" if readonly else "BEGIN IMMEDIATE")
            _prepare(database, path)
            yield History(database)
            database.execute("COMMIT")
    except sqlite3.Error as error:
        raise HistoryError(f"'{path}' cannot be used: {error}. {_ANEW}") from error


_ANEW = "Move it away, and it is made anew from the records in reports/runs."


def _prepare(database: sqlite3.Connection, path: Path) -> None:
    """Within the transaction: two that come first together do not both make the tables."""
    (version,) = database.execute("PRAGMA user_version").fetchone()
    if version == 0:  # which it stays where it cannot be written: an error
        for statement in _SCHEMA.split(";"):
            database.execute(statement)
        database.execute(f"PRAGMA user_version = {VERSION}")
    elif version != VERSION:
        raise HistoryError(
            f"'{path}' has version {version}; this harness reads version {VERSION}. {_ANEW}"
        )


def feed(history: History, runs: Path) -> list[str]:
    """Put in the runs of a folder that are not known, such as one that was killed.

    Returns what is wrong with some. A run that is still going on is taken for one that was cut
    off, until it ends itself; what has no tests at all, as after `--recover`, is no run.
    """
    ended, problems = history.ended(), []
    for folder in sorted(runs.iterdir()):
        if folder.is_symlink() or folder.name in ended or not (folder / "record.jsonl").exists():
            continue
        try:
            if "tests" in (record := load(folder)).collected:
                history.add(record)
        except RecordError as error:
            problems.append(f"not in the history: {error}")
    return problems
