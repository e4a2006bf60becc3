"""What a run's time went into: what ran when, what the runner waited for, the critical path.

The runner does one thing after the other, and jobs on the host go on beside it. The critical path
leads from the run's end back to its beginning: from each thing to what had to end before it, which
is the runner's own last one, or the job that it was following. What is shorter by a second on it
makes the run shorter by a second, until something beside it takes longer.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

from reports.record.record import Event, Record, suite_of

BEFORE, STAGE, TESTS, UNDO, END = "before", "stage", "tests", "undo", "end"  # whose time it is
OWN = "own"  # a segment in which no command of the host ran
_JOB = re.compile(r"job '(.+)'")
_SHOWN = 100  # characters of a command's beginning, and of its end
_EXACT = 0.05  # seconds: an event is written down a moment after what it tells of


@dataclass(frozen=True)
class Owner:
    """What a part of the run's time is spent on: a stage, the tests of a suite, the undo, ..."""

    kind: str
    name: str = ""


@dataclass(frozen=True)
class Act:
    """Something that ran from `begin` to `end`, in seconds since the run began.

    `kind`: 'stage', 'job', 'command', 'question' (to the model server), 'test' or 'undo'.
    """

    kind: str
    name: str
    begin: float
    end: float
    owner: Owner
    state: str = ""
    follows: Act | None = None  # the job that the runner waits for by this command

    @property
    def seconds(self) -> float:
        return self.end - self.begin


@dataclass(frozen=True)
class Wait:
    """A job, and the time from `since` on in which the runner did nothing but look at it.

    It lasts until the job's end, or until a server was ready, which ends when it is stopped
    (`served`). A job that had ended before it was looked at was not waited for: `seen` is when.
    """

    job: Act
    since: float
    until: float
    seen: float
    served: bool = False

    @property
    def seconds(self) -> float:
        return max(self.until - self.since, 0.0)

    @property
    def late(self) -> float:
        """Seconds between the job's end and the first look at it, where that came later."""
        return max(self.since - self.job.end, 0.0)


@dataclass(frozen=True)
class Segment:
    """A part of the critical path: an act of that kind, or OWN."""

    kind: str
    name: str
    begin: float
    end: float
    owner: Owner

    @property
    def seconds(self) -> float:
        return self.end - self.begin


@dataclass(frozen=True)
class Step:
    """What follows upon each other on the critical path, and is on the same thing's account."""

    owner: Owner
    segments: Sequence[Segment]

    @property
    def seconds(self) -> float:
        return sum(segment.seconds for segment in self.segments)

    def largest(self, count: int, least: float) -> list[tuple[str, str, float]]:
        """Kind, name and seconds of what took longest, none below `least`; own time is one."""
        found: dict[tuple[str, str], float] = {}
        for one in self.segments:
            found[one.kind, one.name] = found.get((one.kind, one.name), 0.0) + one.seconds
        ranked = sorted(found.items(), key=lambda item: -item[1])
        return [(*key, seconds) for key, seconds in ranked if seconds >= least][:count]


@dataclass(frozen=True)
class Timeline:
    """A run's time: all acts, the critical path from its beginning on, and what was waited for.

    `before`: seconds until the first command, in which the host is reached, or a lab boots. `own`:
    seconds after that in which no command of the host ran, no question was open, and no server was
    waited for.
    """

    seconds: float
    acts: Sequence[Act]
    path: Sequence[Step]
    waits: Sequence[Wait]
    before: float
    own: float

    def of(self, kind: str) -> list[Act]:
        """The acts of a kind."""
        return [act for act in self.acts if act.kind == kind]


def timeline(record: Record) -> Timeline:
    """Everything that the record tells of the run's time."""
    found = _Reading(record)
    found.read()
    mine = [*found.commands, *found.questions]
    ran = [(act.begin, act.end) for act in mine]
    for wait in found.waits:
        ran.append((wait.since, wait.until) if wait.served else (wait.job.begin, wait.job.end))
    before = min((begin for begin, _ in ran), default=record.seconds)
    path = [*_path(mine, record.seconds)]
    acts = [*found.stages, *found.jobs, *mine, *found.tests, *found.undo]
    busy = sum(end - begin for begin, end in _union(ran))
    return Timeline(
        seconds=record.seconds,
        acts=sorted(acts, key=lambda act: (act.begin, act.end)),
        path=[Step(owner, [*these]) for owner, these in groupby(path, lambda one: one.owner)],
        waits=found.waits,
        before=before,
        own=max(record.seconds - before - busy, 0.0),
    )


@dataclass
class _Begun:
    """A job that was started: by which event; `mark` is in the names of its unit and folder."""

    name: str
    owner: Owner
    number: int
    begin: float
    words: Sequence[str]
    mark: re.Pattern[str]
    act: Act | None = None
    wait: Wait | None = None

    def was(self, words: Sequence[str]) -> bool:
        """Whether these are the job's own words, which stand at the end of those that start it."""
        return len(words) < len(self.words) and self.words[-len(words) :] == words

    def looks(self, event: Event) -> bool:
        """Whether a command is a look at it."""
        return event["at"] > self.begin and any(map(self.mark.search, event["argv"]))


@dataclass
class _Reading:
    """The events of a record, taken in one after the other."""

    record: Record
    stages: list[Act] = field(default_factory=list)
    jobs: list[Act] = field(default_factory=list)
    commands: list[Act] = field(default_factory=list)
    questions: list[Act] = field(default_factory=list)
    tests: list[Act] = field(default_factory=list)
    undo: list[Act] = field(default_factory=list)
    _begun: list[_Begun] = field(default_factory=list)
    _named: dict[str, str] = field(default_factory=dict)  # by stage: a job about to be started
    _loose: list[Event] = field(default_factory=list)  # commands of which it is not known yet whose
    _went_on: dict[str, float] = field(default_factory=dict)  # stages that have begun: when

    @property
    def waits(self) -> list[Wait]:
        """What was waited for, in the order in which it was begun."""
        return [begun.wait for begun in self._begun if begun.wait]

    def read(self) -> None:
        """Take in all of them."""
        told = self._find_jobs()
        for number, event in enumerate(self.record.events):
            if number not in told:
                getattr(self, f"_{event['kind']}", self._nothing)(event)
        self._settle(Owner(END))
        for name, begin in self._went_on.items():
            self.stages.append(_act(STAGE, name, begin, self.record.seconds, state="started"))

    def _nothing(self, event: Event) -> None:
        """Of the other kinds nothing takes time."""

    def _find_jobs(self) -> set[int]:
        """Find the jobs; the numbers of the events that tell of one's whole length at its end."""
        told = set()
        for number, event in enumerate(self.record.events):
            job = _JOB.fullmatch(str(event.get("what")))
            if event["kind"] == "change" and job:
                self._named[str(event["stage"])] = job[1]
            elif event["kind"] == "undo" and job:
                self._stop(job[1], event["at"] - event["seconds"])
            elif event["kind"] == "command" and self._ends_job(number, event):
                told.add(number)
        self._stop(None, self.record.seconds)
        return told

    def _ends_job(self, number: int, event: Event) -> bool:
        """Whether a command's event is the result of a job; one that starts a job is noted."""
        stage, words = str(event["stage"]), event["argv"]
        if name := self._named.pop(stage, ""):
            mark = re.compile(rf"{re.escape(f'{self.record.id}-{name}')}(\.service$|/|$)")
            if any(map(mark.search, words)) and event["rc"] == 0:
                owner = Owner(STAGE, stage)
                self._begun.append(_Begun(name, owner, number, event["at"], words, mark))
            return False
        for begun in self._begun:
            if begun.act is None and begun.owner.name == stage and begun.was(words):
                self._end(begun, number, event)
                return True
        return False

    def _end(self, begun: _Begun, number: int, event: Event) -> None:
        """A job has ended by itself, at the latest when this was told."""
        end, since = min(begun.begin + event["seconds"], event["at"]), event["at"]
        state = "ok" if event["rc"] == 0 else "failed"
        begun.act = _act("job", begun.name, begun.begin, end, begun.owner, state)
        self.jobs.append(begun.act)
        for before in self._commands(reversed(range(number))):
            if not begun.looks(before):
                break
            since = max(before["at"] - before["seconds"], begun.begin)
        begun.wait = Wait(begun.act, since, end, event["at"])

    def _stop(self, name: str | None, at: float) -> None:
        """Jobs of that name, or all, that have not ended run until now."""
        for begun in self._begun:
            if begun.act is None and name in (None, begun.name):
                begun.act = _act("job", begun.name, begun.begin, at, begun.owner, "stopped")
                self.jobs.append(begun.act)
                until = begun.begin
                for event in self._commands(range(begun.number + 1, len(self.record.events))):
                    if not begun.looks(event) or event["at"] > at:
                        break
                    until = event["at"]
                begun.wait = Wait(begun.act, begun.begin, until, until, served=True)

    def _commands(self, numbers: Iterable[int]) -> Iterator[Event]:
        for number in numbers:
            if (event := self.record.events[number])["kind"] == "command":
                yield event

    def _command(self, event: Event) -> None:
        if event["stage"]:
            self._add(event, Owner(STAGE, str(event["stage"])))
        else:
            self._loose.append(event)

    def _add(self, event: Event, owner: Owner) -> None:
        begin, words = event["at"] - event["seconds"], event["argv"]
        waits = (one.wait for one in self._begun if one.wait and one.looks(event))
        job = next((w.job for w in waits if w.since - _EXACT <= begin < w.until), None)
        state = "failed" if event["error"] else "ok"
        act = _act("command", _line(words), begin, event["at"], owner, state, job)
        self.commands.append(act)

    def _settle(self, owner: Owner) -> None:
        for event in self._loose:
            self._add(event, owner)
        self._loose = []

    def _stage(self, event: Event) -> None:
        name, at = str(event["name"]), float(event["at"])
        if event["state"] == "started":
            if not self.tests and not self._went_on and not self.stages:
                self._settle(Owner(BEFORE))
            self._went_on[name] = at
            return
        begin = self._went_on.pop(name, at - float(event["seconds"]))
        self.stages.append(_act(STAGE, name, begin, at, state=str(event["state"])))

    def _test(self, event: Event) -> None:
        nodeid, at = str(event["nodeid"]), event["at"]
        owner = Owner(TESTS, suite_of(nodeid))
        self._settle(owner)
        begin = at - float(event["seconds"])
        self.tests.append(_act("test", nodeid, begin, at, owner, str(event["outcome"])))

    def _undo(self, event: Event) -> None:
        owner = Owner(UNDO)
        self._settle(owner)
        begin, state = event["at"] - event["seconds"], str(event["outcome"])
        name = f"[{event['stage']}] {event['what']}"
        self.undo.append(_act(UNDO, name, begin, event["at"], owner, state))

    def _fact(self, event: Event) -> None:
        """An answer of the model server says how long it took."""
        for one in event.get("shown", ()):
            if one["field"] == f"{event['name']}.seconds":
                begin, owner = event["at"] - one["value"], Owner(TESTS, "model")
                name = str(event["name"])
                self.questions.append(_act("question", name, begin, event["at"], owner))


def _act(
    kind: str,
    name: str,
    begin: float,
    end: float,
    owner: Owner | None = None,
    state: str = "ok",
    follows: Act | None = None,
) -> Act:
    begin = max(float(begin), 0.0)
    return Act(
        kind, name, begin, max(float(end), begin), owner or Owner(kind, name), state, follows
    )


def _line(words: Sequence[Any]) -> str:
    """A command in a line, its beginning and its end; of a script in it the first line."""
    line = " ".join(_first_line(str(word)) for word in words)
    return line if len(line) <= 2 * _SHOWN else f"{line[:_SHOWN]} … {line[-_SHOWN:]}"


def _first_line(word: str) -> str:
    lines = [line.strip() for line in word.splitlines() if line.strip()]
    return f"'{lines[0]} …'" if len(lines) > 1 else word.strip()


def _path(acts: Sequence[Act], end: float) -> list[Segment]:
    """The critical path; `acts` are what the runner did itself, commands and questions."""
    found: list[Segment] = []
    now, owner = end, Owner(END)
    for act in sorted(acts, key=lambda act: (act.end, act.begin), reverse=True):
        if act.end > now + _EXACT:  # beside what is on it
            continue
        if act.end < now:
            found.append(Segment(OWN, "", act.end, now, owner))
        until, owner, what = min(act.end, now), act.owner, act.follows or act
        found.append(Segment(what.kind, what.name, what.begin, max(until, what.begin), owner))
        now = what.begin
    if now > 0:
        found.append(Segment(OWN, "", 0.0, now, Owner(BEFORE)))
    return found[::-1]


def _union(spans: Iterable[tuple[float, float]]) -> Iterator[tuple[float, float]]:
    """The same time in spans that do not touch."""
    begin = end = -1.0
    for span in sorted(spans):
        if span[0] > end:
            if end > begin:
                yield begin, end
            begin = span[0]
        end = max(end, span[1])
    if end > begin:
        yield begin, end
