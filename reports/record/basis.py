"""The basis of a test's outcome: the facts that it was given, and the commands that it ran."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness.text import CUT
from reports.record.record import Event, Record, Test

LINE, OUT = 400, 1200  # characters of a command and of its output that a report shows
LAST = 20  # lines of output, of the command that was the first to fail
FACTS_WITH_OWN_SECTION = ("guide", "collected", "baseline", "security_findings")


@dataclass(frozen=True)
class Command:
    """One command, as a person would type it."""

    line: str
    rc: int
    seconds: float
    out: str


@dataclass(frozen=True)
class FactBlock:
    """The facts of a stage, or another fact; `anchor` is the id of its place in the report."""

    anchor: str
    name: str
    how: str  # of a stage: 'provisioned', ...
    seconds: float | None
    facts: str  # as JSON
    commands: Sequence[Command]


def fact_blocks(record: Record) -> list[FactBlock]:
    """All facts that tests may have been given: those of stages in their order, then others."""
    ran: dict[str, list[Event]] = {}
    for event in record.kind("command"):
        ran.setdefault(str(event["stage"]), []).append(event)
    stages = [
        FactBlock(
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
        FactBlock(f"fact-{name}", name, "", None, _json(value), ())
        for name, value in record.facts.items()
        if name not in FACTS_WITH_OWN_SECTION
    ]
    return stages + others


def facts_for(test: Test, known: Iterable[FactBlock]) -> list[FactBlock]:
    """The facts that a test asked for by its fixtures."""
    wanted = {*test.fixtures}
    return [item for item in known if item.name in wanted]


def commands(test: Test, record: Record) -> list[Command]:
    """The commands that a test, or a fixture of its own, ran on the host."""
    return [_command(record.events[number], OUT) for number in test.commands]


def last_command(test: Test, record: Record) -> Command | None:
    """What a failed test, or its stage, ran last on the host; of its commands one that failed."""
    mine = [e for e in record.kind("command") if test.stage and e["stage"] == test.stage]
    mine = mine or [record.events[number] for number in test.commands]
    bad = [event for event in mine if event["rc"] != 0 or event["error"]]
    return next((_command(event, LAST * LINE, LAST) for event in reversed(bad or mine)), None)


def _command(event: Mapping[str, Any], out: int, lines: int | None = None) -> Command:
    line = str(event["line"])
    short = line if len(line) <= LINE else f"{line[:LINE]} …"
    said = f"{event['out']}{event['err']}".strip() if out else ""
    kept = len(event["out"].encode()) + len(event["err"].encode())
    last = "\n".join(said.splitlines()[-lines:]) if lines else said
    whole = len(last) == len(said) <= out and kept >= event["out_bytes"] + event["err_bytes"]
    said = said if whole else f"{CUT} {last[-out:].removeprefix(CUT)}"
    return Command(short, int(event["rc"]), float(event["seconds"]), said)


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, indent=1)
