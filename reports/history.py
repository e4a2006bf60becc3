"""All runs of a lab over time, in one SQLite file; every run is fed in from its record."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from reports import verdict
from reports.measures import conditions, measures
from reports.record import Record

FILE = Path("history") / "history.sqlite"  # in the folder of reports
VERSION = 1
_SCHEMA = """
CREATE TABLE run (
    number INTEGER PRIMARY KEY, id TEXT UNIQUE NOT NULL, lab TEXT NOT NULL, started TEXT NOT NULL,
    seconds REAL NOT NULL, verdict TEXT NOT NULL, exit_status INTEGER, cause TEXT NOT NULL
);
CREATE INDEX run_lab ON run (lab, number);
CREATE TABLE name (number INTEGER PRIMARY KEY, text TEXT UNIQUE NOT NULL);
CREATE TABLE measure (run INTEGER, name INTEGER, value REAL NOT NULL, PRIMARY KEY (run, name))
    WITHOUT ROWID;
CREATE TABLE step (
    run INTEGER, place INTEGER, name INTEGER NOT NULL, status TEXT NOT NULL,
    PRIMARY KEY (run, place)
) WITHOUT ROWID;
CREATE TABLE condition (run INTEGER, name INTEGER, value TEXT NOT NULL, PRIMARY KEY (run, name))
    WITHOUT ROWID;
"""
_COLUMNS = {
    "measure": ("run, name, value", "?"),
    "condition": ("run, name, value", "?"),
    "step": ("run, name, status, place", "?, ?"),
}


class HistoryError(Exception):
    """A history that this version cannot read."""


@dataclass(frozen=True)
class Past:
    """One earlier run, as the history has it."""

    id: str
    lab: str
    started: str
    seconds: float
    verdict: str
    exit_status: int | None
    cause: str  # the first failure's sentence; '' where nothing failed

    @property
    def good(self) -> bool:
        return self.exit_status == 0


class History:
    """The runs of all labs; use `opened`."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self._db = database

    def add(self, record: Record) -> None:
        """Put a run in, or anew where it is known already."""
        known = self._db.execute("SELECT number FROM run WHERE id = ?", (record.id,)).fetchone()
        if known:
            for table in ("measure", "step", "condition"):
                self._db.execute(f"DELETE FROM {table} WHERE run = ?", known)
            self._db.execute("DELETE FROM run WHERE number = ?", known)
        failure = record.first_failure
        cause = failure.cause[0] if failure else ""
        row = (
            *(record.id, str(record.profile["name"]), record.started.isoformat(), record.seconds),
            *(verdict.overall(record).verdict, record.exit_status, cause),
        )
        number = self._db.execute(
            "INSERT INTO run (id, lab, started, seconds, verdict, exit_status, cause)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            row,
        ).lastrowid
        assert number is not None
        self._put("measure", [(number, name, value) for name, value in measures(record).items()])
        self._put(
            "condition", [(number, name, value) for name, value in conditions(record).items()]
        )
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

    def labs(self) -> list[str]:
        """The names of all labs, the one that ran last first."""
        rows = self._db.execute("SELECT lab FROM run GROUP BY lab ORDER BY max(number) DESC")
        return [lab for (lab,) in rows]

    def runs(self, lab: str, last: int = 200) -> list[Past]:
        """The newest runs of a lab, the oldest of them first."""
        rows = self._db.execute(
            "SELECT id, lab, started, seconds, verdict, exit_status, cause FROM run"
            " WHERE lab = ? ORDER BY number DESC LIMIT ?",
            (lab, last),
        ).fetchall()
        return [Past(*row) for row in reversed(rows)]

    def count(self, lab: str) -> int:
        """How many runs of a lab there are."""
        (number,) = self._db.execute("SELECT count(*) FROM run WHERE lab = ?", (lab,)).fetchone()
        return int(number)

    def measures(self, lab: str, last: int = 200) -> dict[str, list[tuple[str, float]]]:
        """What was measured (seconds of a stage, ...) in the newest runs: [(run id, value)]."""
        found: dict[str, list[tuple[str, float]]] = {}
        for name, run, value in self._of(lab, "measure", "value", last):
            found.setdefault(name, []).append((run, float(value)))
        return found

    def outcomes(self, lab: str, last: int = 200) -> dict[str, list[str]]:
        """Per test its statuses in the newest runs, the oldest first."""
        found: dict[str, list[str]] = {}
        for name, _, status in self._of(lab, "step", "status", last):
            if "::" in name:
                found.setdefault(name, []).append(status)
        return found

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

    def _of(self, lab: str, table: str, column: str, last: int) -> Iterator[tuple[str, str, str]]:
        """(name, run id, value) of the newest runs, the oldest first."""
        yield from self._db.execute(
            f"SELECT text, run.id, {column} FROM (SELECT number, id FROM run WHERE lab = ?"
            f" ORDER BY number DESC LIMIT ?) AS run JOIN {table} ON run = run.number"
            " JOIN name ON name.number = name ORDER BY run.number",
            (lab, last),
        )


@contextmanager
def opened(path: Path) -> Iterator[History]:
    """The history at `path`, made if it is not there; written when the block ends well."""
    path.parent.mkdir(parents=True, exist_ok=True)
    database = sqlite3.connect(path, timeout=60)
    try:
        with database:
            (version,) = database.execute("PRAGMA user_version").fetchone()
            if version == 0:
                database.executescript(f"{_SCHEMA} PRAGMA user_version = {VERSION};")
            elif version != VERSION:
                raise HistoryError(
                    f"'{path}' has version {version}; this harness reads version {VERSION}."
                    " Move it away, and it is made anew from the records."
                )
            yield History(database)
    finally:
        database.close()
