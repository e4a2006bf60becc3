"""Read a run's record.jsonl: lines become events, and events a `Record`."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from harness.record.facts import Shown
from harness.record.trace import FORMAT, NOT_ASSESSED
from harness.text import readable
from reports.record.record import (
    KEPT,
    LEFT,
    Change,
    Event,
    Record,
    RecordError,
    Stage,
    Test,
)

RUNS = Path(__file__).parents[1] / "runs"  # a folder for each
_RANK = ("passed", "skipped", "failed", "error")


def folder(run: str) -> Path:
    """A run by its id, or by its folder's path."""
    return RUNS / run if (RUNS / run).exists() else Path(run)


def load(run: Path) -> Record:
    """Read a run's folder, or a record file. Raises RecordError."""
    path = run / "record.jsonl" if run.is_dir() else run
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise RecordError(f"No record can be read at '{path}': {error.strerror}.") from error
    lines = tuple(_lines(raw))
    events = tuple(_parsed(path, number, line) for number, line in enumerate(lines, 1))
    if not events or events[0].get("kind") != "run" or events[0].get("state") != "started":
        raise RecordError(f"'{path}' does not begin with the start of a run.")
    if (format := events[0].get("format")) != FORMAT:
        raise RecordError(f"'{path}' has format {format!r}; this version reads {FORMAT}.")
    try:
        return _record(path, raw, lines, events)
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        why = f"{type(error).__name__}: {error}"
        raise RecordError(f"'{path}' is no record as a run writes it ({why}).") from error


def _record(path: Path, raw: bytes, lines: tuple[bytes, ...], events: tuple[Event, ...]) -> Record:
    return Record(
        folder=path.parent,
        events=events,
        lines=lines,
        digest=hashlib.sha256(raw).hexdigest(),
        rest=len(raw.rpartition(b"\n")[2]),
        tests=_tests(events),
        stages=_stages(events),
        changes=_changes(events),
        facts={e["name"]: e["value"] for e in events if e["kind"] == "fact"},
        shown=_shown(events),
    )


def _lines(raw: bytes) -> list[bytes]:
    """Whole lines; what follows the last newline was being written when the run was killed."""
    return raw.rpartition(b"\n")[0].splitlines() if b"\n" in raw else []


def _parsed(path: Path, number: int, line: bytes) -> Event:
    try:
        event = _readable(json.loads(line))
    except (ValueError, RecursionError) as error:
        raise RecordError(f"'{path}' line {number} is not JSON: {error}.") from error
    if not isinstance(event, dict) or "kind" not in event:
        raise RecordError(f"'{path}' line {number} is no event of a record.")
    return event


def _readable(value: Any) -> Any:
    """A value of JSON; whatever its texts hold, pages and programs can have them."""
    if isinstance(value, str):
        return readable(value)
    if isinstance(value, dict):
        return {readable(key): _readable(item) for key, item in value.items()}
    return [_readable(item) for item in value] if isinstance(value, list) else value


def _tests(events: tuple[Event, ...]) -> tuple[Test, ...]:
    evidence: dict[str, list[str]] = {}
    for event in events:
        if event["kind"] == "evidence" and event["nodeid"]:
            evidence.setdefault(str(event["nodeid"]), []).append(str(event["file"]))
    found: dict[str, Test] = {}
    own: list[int] = []  # commands outside of stages since the last test: this test's own
    for number, event in enumerate(events):
        if event["kind"] == "command" and not event["stage"]:
            own.append(number)
        if event["kind"] != "test":
            continue
        nodeid = str(event["nodeid"])
        before = found.get(nodeid)
        found[nodeid] = _test(event, before, evidence.get(nodeid, ()), own)
        own = []
    broken = {e["error"]: e["name"] for e in events if e["kind"] == "stage" and e.get("error")}
    return tuple(_of_stage(test, broken) for test in found.values())


def _of_stage(test: Test, broken: Mapping[str, str]) -> Test:
    """A test; where its error is that of a stage (an error's text, and whose it is), with that."""
    if test.outcome != "error":
        return test
    mine = (name for error, name in broken.items() if test.message.startswith(error))
    host = "host" if test.status == NOT_ASSESSED else ""  # no stage has come about
    return replace(test, stage=next(mine, host))


def _test(event: Event, before: Test | None, evidence: Iterable[str], own: list[int]) -> Test:
    """A test after one more of its phases: the worst of them says how it went."""
    outcome, message = str(event["outcome"]), str(event["message"] or "")
    seconds, commands = float(event["seconds"]), tuple(own)
    if before is not None:
        seconds, commands = seconds + before.seconds, before.commands + commands
        if _RANK.index(outcome) <= _RANK.index(before.outcome):
            return replace(before, seconds=seconds, commands=commands)
    return Test(
        nodeid=str(event["nodeid"]),
        outcome=outcome,
        seconds=seconds,
        clauses=tuple(event["clauses"]),
        message=message,
        evidence=tuple(evidence),
        status=str(event["status"]),
        fixtures=tuple(event["fixtures"]),
        commands=commands,
        asserted=tuple((one["asserted"], one["found"]) for one in event.get("asserted", ())),
    )


def _shown(events: tuple[Event, ...]) -> tuple[Shown, ...]:
    """The fields that reports show: of the stages' facts as they began, then of other facts."""
    begun = [f"stage {e['name']}" for e in events if e["kind"] == "stage"]
    found: dict[str, Sequence[Mapping[str, Any]]] = dict.fromkeys(begun, ())
    for event in events:
        if event["kind"] in ("stage", "fact"):
            found[f"{event['kind']} {event['name']}"] = event.get("shown", ())
    known = {field.name for field in fields(Shown)}  # older records have others, too
    return tuple(
        Shown(**{key: value for key, value in one.items() if key in known})
        for ones in found.values()
        for one in ones
    )


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
