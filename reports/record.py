"""A run's record.jsonl, read back: what was tested, how it ended, what was changed.

Everything that a report says comes from here, so that it can be made again later and elsewhere.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any

FORMATS = (2,)
NOT_ASSESSED = "not assessed"  # how the reason of a skip begins that is no consequence of a failure
KEPT = "kept"  # what became of a change that is there for later runs
LEFT = "left"  # ... of one that should have been put back, and that nobody tried to
_RANK = ("passed", "skipped", "failed", "error")

Event = dict[str, Any]


class RecordError(Exception):
    """A record that cannot be read; the text says which line, and why."""


@dataclass(frozen=True)
class Test:
    """One test: the worst outcome of its phases ('passed', 'skipped', 'failed' or 'error')."""

    nodeid: str
    outcome: str
    seconds: float
    clauses: tuple[str, ...]
    message: str
    evidence: tuple[str, ...] = ()
    refused: bool = False  # the host was in use or not as it was: the run did not begin

    @property
    def name(self) -> str:
        return self.nodeid.rpartition("::")[2]

    @property
    def suite(self) -> str:
        """`suites/test_50_gpu.py::test_x` is of suite `gpu`."""
        stem = PurePosixPath(self.nodeid.partition("::")[0]).stem
        words = stem.removeprefix("test_").split("_")
        return "_".join(words[1:] if words[0].isdigit() else words)

    @property
    def status(self) -> str:
        """The outcome; of a skip also which kind: 'not assessed', or 'blocked' by a failure."""
        if self.refused:
            return NOT_ASSESSED
        if self.outcome != "skipped":
            return self.outcome
        return NOT_ASSESSED if self.message.startswith(NOT_ASSESSED) else "blocked"

    @property
    def cause(self) -> tuple[str, ...]:
        """The lines that say why: of a traceback what pytest marks by `E`, else the message."""
        lines = [line.rstrip() for line in self.message.splitlines() if line.strip()]
        marked = [line[1:].strip() for line in lines if line.startswith("E  ")]
        return tuple(marked or lines or ["no reason given"])


@dataclass(frozen=True)
class Stage:
    """One stage: when it began (seconds since the run did), how long it took, what it found."""

    name: str
    state: str  # 'ok', 'failed', 'interrupted', or 'started' where the record ends within it
    at: float
    seconds: float
    how: str = ""
    error: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Change:
    """One change to the host, and what became of it at the end."""

    stage: str
    what: str
    outcome: str  # 'undone', 'not needed', 'failed', KEPT or LEFT
    error: str = ""


@dataclass(frozen=True)
class Record:
    """A whole run. `exit_status` is None where the run never ended."""

    folder: Path
    events: tuple[Event, ...]
    digest: str
    tests: tuple[Test, ...]
    stages: tuple[Stage, ...]
    changes: tuple[Change, ...]
    facts: Mapping[str, Any]

    @property
    def start(self) -> Event:
        return self.events[0]

    @property
    def end(self) -> Event | None:
        found = [e for e in self.events if e["kind"] == "run" and e["state"] == "ended"]
        return found[-1] if found else None

    @property
    def id(self) -> str:
        return str(self.start["id"])

    @property
    def profile(self) -> Mapping[str, Any]:
        profile: Mapping[str, Any] = self.start["profile"]
        return profile

    @property
    def standins(self) -> tuple[str, ...]:
        return tuple(self.profile.get("standins", ()))

    @property
    def started(self) -> datetime:
        return datetime.fromisoformat(self.start["time"]).astimezone(UTC)

    @property
    def seconds(self) -> float:
        """From the first event to the last."""
        return float(self.events[-1]["at"])

    @property
    def exit_status(self) -> int | None:
        return None if self.end is None else int(self.end["exit_status"])

    @property
    def steps(self) -> list[tuple[str, str]]:
        """(name, status) of each stage and test, in the order in which they ended."""
        status = {test.nodeid: test.status for test in self.tests}
        found: dict[str, str] = {}
        for event in self.events:
            if event["kind"] == "stage" and event["state"] != "started":
                found.setdefault(f"stage {event['name']}", str(event["state"]))
            elif event["kind"] == "test":
                found.setdefault(str(event["nodeid"]), status[event["nodeid"]])
        return list(found.items())

    def stage(self, name: str) -> Stage | None:
        """The stage of that name, if the run had it."""
        return next((stage for stage in self.stages if stage.name == name), None)

    @property
    def first_failure(self) -> Test | None:
        """The first test that failed; what it says is the cause, not a consequence."""
        return next((test for test in self.tests if test.outcome in ("error", "failed")), None)

    def kind(self, kind: str) -> list[Event]:
        """All events of a kind."""
        return [event for event in self.events if event["kind"] == kind]


def load(run: Path) -> Record:
    """Read a run's folder, or a record file. Raises RecordError."""
    path = run / "record.jsonl" if run.is_dir() else run
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise RecordError(f"No record can be read at '{path}': {error.strerror}.") from error
    events = tuple(_parsed(path, number, line) for number, line in enumerate(_lines(raw), 1))
    if not events or events[0].get("kind") != "run" or events[0].get("state") != "started":
        raise RecordError(f"'{path}' does not begin with the start of a run.")
    if events[0].get("format") not in FORMATS:
        raise RecordError(
            f"'{path}' has format {events[0].get('format')!r}; this version reads"
            f" {', '.join(map(str, FORMATS))}."
        )
    return Record(
        folder=path.parent,
        events=events,
        digest=hashlib.sha256(raw).hexdigest(),
        tests=_tests(events),
        stages=_stages(events),
        changes=_changes(events),
        facts={e["name"]: e["value"] for e in events if e["kind"] == "fact"},
    )


def _lines(raw: bytes) -> list[bytes]:
    """Whole lines; what follows the last newline was being written when the run was killed."""
    return raw.rpartition(b"\n")[0].splitlines() if b"\n" in raw else []


def _parsed(path: Path, number: int, line: bytes) -> Event:
    try:
        event = json.loads(line)
    except ValueError as error:
        raise RecordError(f"'{path}' line {number} is not JSON: {error}.") from error
    if not isinstance(event, dict) or "kind" not in event:
        raise RecordError(f"'{path}' line {number} is no event of a record.")
    return event


def _tests(events: tuple[Event, ...]) -> tuple[Test, ...]:
    evidence: dict[str, list[str]] = {}
    for event in events:
        if event["kind"] == "evidence":
            evidence.setdefault(str(event["nodeid"]), []).append(str(event["file"]))
    found: dict[str, Test] = {}
    for event in events:
        if event["kind"] != "test":
            continue
        nodeid, outcome = str(event["nodeid"]), str(event["outcome"])
        before = found.get(nodeid)
        if before is not None and _RANK.index(outcome) <= _RANK.index(before.outcome):
            continue
        found[nodeid] = Test(
            nodeid=nodeid,
            outcome=outcome,
            seconds=float(event["seconds"]) + (before.seconds if before else 0.0),
            clauses=tuple(event["clauses"]),
            message=str(event["message"] or ""),
            evidence=tuple(evidence.get(nodeid, ())),
            refused=bool(event.get("refused")),
        )
    return tuple(found.values())


def _stages(events: tuple[Event, ...]) -> tuple[Stage, ...]:
    found: dict[str, Stage] = {}
    for event in events:
        if event["kind"] != "stage":
            continue
        name, at = str(event["name"]), float(event["at"])
        if event["state"] == "started":
            found[name] = Stage(name, "started", at, events[-1]["at"] - at)
            continue
        facts = event.get("facts")
        found[name] = Stage(
            name=name,
            state=str(event["state"]),
            at=found[name].at if name in found else at - float(event["seconds"]),
            seconds=float(event["seconds"]),
            how=str(event.get("how") or ""),
            error=str(event.get("error") or ""),
            facts=facts if isinstance(facts, dict) else {},
        )
    return tuple(found.values())


def _changes(events: tuple[Event, ...]) -> tuple[Change, ...]:
    """Every change that this run made or took back, in the order in which they were made."""
    undone = {(e["run"], e["id"]): e for e in events if e["kind"] == "undo"}
    made = {(e["run"], e["id"]): e for e in events if e["kind"] == "change"}
    found = []
    for key, event in {**undone, **made}.items():  # those of earlier runs come first
        undo = undone.get(key, {})
        left = KEPT if event.get("durable") else LEFT
        outcome, error = str(undo.get("outcome", left)), str(undo.get("error") or "")
        found.append(Change(str(event["stage"]), str(event["what"]), outcome, error))
    return tuple(found)
