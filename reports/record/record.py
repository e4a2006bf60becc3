"""A run's record.jsonl, read back: what was tested, how it ended, what was changed.

Everything that a report says comes from here, so that it can be made again later and elsewhere.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any

from harness import exits
from harness.record.facts import Shown
from harness.record.trace import BLOCKED

KEPT = "kept"  # outcome of a change that is kept for later runs
LEFT = "left"  # ... of one that should have been undone, but was not tried

STAND_IN, NOT_SEEN = "stand-in", "not seen"  # states of a part; or it is real

Event = dict[str, Any]


class RecordError(Exception):
    """A record that cannot be read; the text says which line, and why."""


@lru_cache(maxsize=4096)
def suite_of(nodeid: str) -> str:
    """`suites/test_gpu.py::test_x` is of suite `gpu`; whatever is in `suites/local`, of `local`."""
    path = PurePosixPath(nodeid.partition("::")[0])
    if path.parent.name == "local":  # its files may have the names of ours
        return "local"
    words = path.stem.removeprefix("test_").split("_")
    return "_".join(words[1:] if words[0].isdigit() else words)


def _settings(section: Mapping[str, Any], start: str = "") -> Iterator[tuple[str, str]]:
    for key, value in section.items():
        if isinstance(value, Mapping):
            yield from _settings(value, f"{start}{key}.")
        else:
            text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
            yield f"{start}{key}", text


@dataclass(frozen=True)
class Test:
    """One test: the worst outcome of its phases ('passed', 'skipped', 'failed' or 'error')."""

    nodeid: str
    outcome: str
    seconds: float
    clauses: tuple[str, ...]
    message: str
    evidence: tuple[str, ...] = ()
    status: str = ""  # the outcome; of a skip, and of one that may fail (xfail), which kind
    fixtures: tuple[str, ...] = ()  # what it asks for itself
    commands: tuple[int, ...] = ()  # what it ran on the host: indices of `Record.events`
    asserted: tuple[tuple[str, str], ...] = ()  # what held, as it is written and as it was found
    # The stage whose failure this error is, or 'host': the test is the first that needs it.
    stage: str = ""

    @property
    def subject(self) -> str:
        """What failed: the stage, where that did, and else the test by its id."""
        return f"stage '{self.stage}'" if self.stage else self.nodeid

    @property
    def name(self) -> str:
        path, bracket, parameters = self.nodeid.partition("[")  # which may hold anything
        return path.rpartition("::")[2] + bracket + parameters

    @property
    def suite(self) -> str:
        return suite_of(self.nodeid)

    @property
    def cause(self) -> tuple[str, ...]:
        """The lines that say why: of a traceback what pytest marks by `E`, else the message.

        The first may stand alone somewhere, so it has more than the head of what follows.
        """
        lines = [line.rstrip() for line in self.message.splitlines() if line.strip()]
        marked = [line[1:].strip() for line in lines if line.startswith("E  ")]
        first, *more = marked or lines or ["no reason given"]
        if first.endswith(":") and more:
            first = f"{first} {more.pop(0).strip()}"
        return first, *more


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


@dataclass(frozen=True, eq=False)
class Record:
    """A whole run. `exit_status` is None where the run never ended. Two are never the same."""

    folder: Path
    events: tuple[Event, ...]  # their texts are `harness.text.readable`
    lines: tuple[bytes, ...]  # the same as they were written
    digest: str  # sha256 of record.jsonl
    rest: int  # bytes behind its last line
    tests: tuple[Test, ...]
    stages: tuple[Stage, ...]
    changes: tuple[Change, ...]
    facts: Mapping[str, Any]
    shown: tuple[Shown, ...]  # what the facts, those of stages first, declare for a report
    altered: tuple[str, ...] = ()  # what a check of its integrity has found

    @property
    def start(self) -> Event:
        return self.events[0]

    @property
    def end(self) -> Event | None:
        ends = (e for e in reversed(self.events) if e["kind"] == "run" and e["state"] == "ended")
        return next(ends, None)

    @property
    def id(self) -> str:
        return str(self.start["id"])

    @property
    def profile(self) -> Mapping[str, Any]:
        profile: Mapping[str, Any] = self.start["profile"]
        return profile

    @property
    def settings(self) -> dict[str, str]:
        """Every value of the profile by its key, such as `network.subnet`: text, or JSON."""
        return dict(_settings(self.profile))

    @property
    def parts(self) -> Sequence[Mapping[str, Any]]:
        """The parts of the guide as the run saw them (schema: `parts`); an old record has none."""
        found: Sequence[Mapping[str, Any]] = self.facts.get("parts", ())
        return found

    @property
    def standins(self) -> tuple[str, ...]:
        """The names of the lab's stand-ins, as the run found them."""
        return tuple(part["name"] for part in self.parts if part["state"] == STAND_IN)

    @property
    def collected(self) -> Mapping[str, Any]:
        """`tests`: the ids of all tests, run or not; `only`: those that were asked for by id."""
        found: Mapping[str, Any] = self.facts.get("collected", {})
        return found

    @property
    def clauses(self) -> Mapping[str, Mapping[str, Any]]:
        """The guide's clauses by id, as the record lists them; optional ones if they were asked."""
        asked = {suite_of(nodeid) for nodeid in self.collected.get("tests", ())}
        return {
            clause["id"]: clause
            for clause in self.facts.get("guide", {}).get("clauses", ())
            if not clause.get("optional") or clause["id"].partition(".")[0] in asked
        }

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
    def exit_name(self) -> str:
        """What `harness.exits` calls the exit status, such as 'passed'; '' where there is none."""
        named = (key for key, value in vars(exits).items() if value == self.exit_status)
        return next(named, "").lower().replace("_", " ") if self.end else ""

    @property
    def steps(self) -> list[tuple[str, str]]:
        """(name, status) of each stage and test, in the order in which they ended.

        The test that was the first to need a stage that failed is blocked by it, as all others are.
        """
        status = {
            test.nodeid: BLOCKED if test.stage and test.status == "error" else test.status
            for test in self.tests
        }
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
        """The first test that failed; its message is the cause, later ones may be consequences."""
        return next((test for test in self.tests if test.outcome in ("error", "failed")), None)

    def kind(self, kind: str) -> list[Event]:
        """All events of a kind."""
        return [event for event in self.events if event["kind"] == kind]
