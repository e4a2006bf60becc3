"""Retention: which runs may go, and what the others are needed for (`python -m reports prune`)."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from reports.history import divergence
from reports.history.history import History
from reports.record.reading import load
from reports.record.record import Record, RecordError

NEWEST = "it is one of the newest"  # why most runs stay
GOING = ".pruned-"  # how a folder is called while it is being deleted

Change = tuple[str, int]  # a run's id, and the number of a change in its journal


@dataclass(frozen=True)
class Kept:
    """A run's folder, and why it stays; `why` is '' where nothing needs it."""

    folder: Path
    why: str
    size: int  # bytes


@dataclass(frozen=True)
class _Run:
    folder: Path
    id: str
    lab: str
    started: datetime
    digest: str
    tests: bool  # a recovery has none, and is in no history
    ended: bool
    left_as_is: bool
    changed: frozenset[Change]  # what the run's end was to take back
    undone: frozenset[Change]  # of whatever run


def choose(runs: Path, known: History, keep: int, since: datetime | None) -> list[Kept]:
    """What is to become of each run, the oldest first: `keep` of each lab stay, and all `since`.

    Whatever the two say, a run stays that may have a journal open on its host, which is one without
    an end, or with changes that no record here has undone; the last good one of its lab, and the
    one that failed last, to which the trend page leads; one that the history does not have as it
    is; and the one that `last` leads to.
    """
    found: list[_Run] = []
    kept: list[Kept] = []
    for path in sorted(runs.iterdir()):
        if path.is_symlink() or path.name.startswith(GOING) or not (path / "record.jsonl").exists():
            continue
        try:
            found.append(_run(load(path), known))
        except RecordError:
            kept.append(Kept(path, "its record cannot be read", _size(path)))
    found.sort(key=lambda run: run.started)
    wanted = set(_newest(found, keep, since))
    undone = frozenset(change for run in found for change in run.undone)
    shown = dict(_shown(known, {run.lab for run in found}))
    last = (runs / "last").resolve()
    for run in found:
        why = _why(run, known, undone) or shown.get(run.id, "")
        if not why and (run.folder.resolve() == last or run.id in wanted):
            why = NEWEST
        kept.append(Kept(run.folder, why, _size(run.folder)))
    return kept


def delete(run: Path) -> None:
    """Delete a run's folder: under another name, so that nobody sees half of one. OSError."""
    going = run.with_name(GOING + run.name)
    run.rename(going)
    shutil.rmtree(going)


def sweep(runs: Path) -> None:
    """Delete what a `delete` has left that was killed."""
    for left in runs.glob(f"{GOING}*"):
        shutil.rmtree(left)


def _run(record: Record, known: History) -> _Run:
    mine = {(str(e["run"]), int(e["id"])) for e in record.kind("change") if not e.get("durable")}
    undone = (e for e in record.kind("undo") if e["outcome"] != "failed")
    return _Run(
        folder=record.folder,
        id=record.id,
        lab=known.lab(record),
        started=record.started,
        digest=record.digest,
        tests="tests" in record.collected,
        ended=record.end is not None,
        left_as_is=bool(record.end and record.end["kept"]),
        changed=frozenset(mine),
        undone=frozenset((str(e["run"]), int(e["id"])) for e in undone),
    )


def _why(run: _Run, known: History, undone: frozenset[Change]) -> str:
    if run.changed - undone:
        kept = " (--keep)" if run.left_as_is else ""
        return f"what it changed is still on its host, as far as is known here{kept}"
    if not run.ended and not run.changed:
        return "it has no end: it may be going on"
    if run.tests and run.ended and known.digest(run.id) != run.digest:
        return "the history does not have it as it is"
    return ""


def _newest(found: list[_Run], keep: int, since: datetime | None) -> Iterator[str]:
    """The ids that are to stay by number or by age; a recovery, if an older run does."""
    count: dict[str, int] = {}
    oldest = since
    for run in reversed(found):
        count[run.lab] = count.get(run.lab, 0) + run.tests
        if run.tests and (count[run.lab] <= keep or (since and run.started >= since)):
            oldest = min(oldest or run.started, run.started)
            yield run.id
    yield from (run.id for run in found if not run.tests and oldest and run.started >= oldest)


def _shown(known: History, labs: set[str]) -> Iterator[tuple[str, str]]:
    """(id, why) of the runs of each lab to which its trend page leads, and of its last good one."""
    for lab in labs:
        if found := divergence.newest(known, lab):
            yield found.failed.id, "it is the newest that failed of its lab"
            if found.good:
                yield found.good.id, "the newest failure of its lab is held against it"
        for run in [run for run in known.runs(lab) if run.good][-1:]:
            yield run.id, "it is the last good one of its lab"


def _size(path: Path) -> int:
    return sum(one.lstat().st_size for one in path.rglob("*") if not one.is_dir())
