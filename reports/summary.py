"""The outcome of a run in few words: summary.json for programs, some lines for a terminal."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from typing import Any

from reports import verdict
from reports.measures import measures
from reports.record import Record

FORMAT = 1  # of summary.json
WIDTH = 80  # columns of a terminal
CAUSE_LINES = 4  # of the first failure's message


def document(record: Record) -> dict[str, Any]:
    """What summary.json holds."""
    whole, failure = verdict.overall(record), record.first_failure
    return {
        "format": FORMAT,
        "id": record.id,
        "lab": record.profile["name"],
        "started": record.started.isoformat(),
        "seconds": record.seconds,
        "verdict": whole.verdict,
        "reasons": [str(reason) for reason in whole.reasons],
        "exit_status": record.exit_status,
        "standins": list(record.standins),
        "tests": dict(whole.counts),
        "capabilities": [
            {
                "name": part.name,
                "verdict": part.verdict,
                "tests": dict(part.counts),
                "reasons": [str(reason) for reason in part.reasons],
            }
            for part in verdict.capabilities(record)
        ],
        "first_failure": failure and {"test": failure.nodeid, "message": failure.message},
        "measures": measures(record),
        "baseline": record.facts.get("baseline"),
        "record_sha256": record.digest,
    }


def lines(record: Record) -> Iterator[str]:
    """A line a capability, and the first failure with its cause; none wider than WIDTH."""
    for part in verdict.capabilities(record):
        counts = ", ".join(f"{count} {status}" for status, count in part.counts.items())
        yield f"{part.name:<16} {part.verdict:<13} {counts}"[:WIDTH]
    whole = verdict.overall(record)
    yield f"{'verdict':<16} {whole.verdict}"
    if record.standins:
        yield from _wrapped("parts of the lab are stand-ins", ", ".join(record.standins))
    if failure := record.first_failure:
        yield from _wrapped("first failure", failure.nodeid)
        for line in failure.cause[:CAUSE_LINES]:
            yield from textwrap.wrap(line, WIDTH, initial_indent="  ", subsequent_indent="  ")
    for line in record.facts.get("baseline", {}).get("said", []):
        yield from _wrapped("baseline", line)


def _wrapped(head: str, text: str) -> list[str]:
    return textwrap.wrap(f"{head}: {text}", WIDTH, subsequent_indent="  ")
