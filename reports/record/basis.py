"""What a test rests on: the commands that it ran on the host, and the facts that it was given."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from reports.record.record import Event, Record, Test

LINE, OUT = 400, 1200  # characters of a command and of its output that a report shows
SAID_ELSEWHERE = ("guide", "collected", "baseline", "security_findings")  # facts with a section


@dataclass(frozen=True)
class Command:
    """One command, as a person would type it."""

    line: str
    rc: int
    seconds: float
    out: str


@dataclass(frozen=True)
class Found:
    """What a stage found, or another fact; `anchor` is where it stands in the report."""

    anchor: str
    name: str
    how: str  # of a stage: 'provisioned', ...
    seconds: float | None
    facts: str  # as JSON
    commands: Sequence[Command]


def found(record: Record) -> list[Found]:
    """All that tests may have been given, in the order in which it came."""
    ran: dict[str, list[Event]] = {}
    for event in record.kind("command"):
        ran.setdefault(str(event["stage"]), []).append(event)
    stages = [
        Found(
            anchor=f"stage-{stage.name}",
            name=stage.name,
            how=stage.how,
            seconds=stage.seconds,
            facts=_json(stage.facts),
            commands=[_command(event, 0) for event in ran.get(stage.name, ())],
        )
        for stage in record.stages
        if stage.state == "ok"
    ]
    others = [
        Found(f"fact-{name}", name, "", None, _json(value), ())
        for name, value in record.facts.items()
        if name not in SAID_ELSEWHERE
    ]
    return stages + others


def given(test: Test, known: Iterable[Found]) -> list[Found]:
    """Of what was found, that which a test asked for."""
    wanted = {*test.fixtures}
    return [item for item in known if item.name in wanted]


def commands(test: Test, record: Record) -> list[Command]:
    """What a test, or a fixture of its own, ran on the host; how each ended."""
    return [_command(record.events[number], OUT) for number in test.commands]


def _command(event: Mapping[str, Any], out: int) -> Command:
    line = str(event["line"])
    short = line if len(line) <= LINE else f"{line[:LINE]} …"
    said = f"{event['out']}{event['err']}".strip() if out else ""
    if len(said) > out:
        said = f"… {said[-out:]}"
    return Command(short, int(event["rc"]), float(event["seconds"]), said)


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, indent=1)
