"""Whether a record and its evidence are still what the run wrote."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from harness.trace import GENESIS, link
from reports.record import Record


@dataclass(frozen=True)
class Integrity:
    """What was found wrong; nothing means that all digests agree."""

    problems: tuple[str, ...]
    checked: int

    @property
    def intact(self) -> bool:
        return not self.problems


def check(record: Record) -> Integrity:
    """Follow the chain of digests through the record, and digest each file of evidence again.

    Every event carries `chain`: the sha256 of the event before's chain and of the event itself. It
    tells a change made by accident or by hand, and a cut at the front or in the middle; whoever
    can write the whole file anew can also make a new chain, so keep the last digest elsewhere.
    """
    problems = []
    chain = GENESIS
    for number, event in enumerate(record.events, 1):
        chain = link(chain, event)
        if event.get("chain") != chain:
            problems.append(f"record.jsonl line {number} is not what was written")
            break
    if record.end is None:
        problems.append("record.jsonl has no end: the run was cut off, or lines were removed")
    evidence = record.kind("evidence")
    for event in evidence:
        path = record.folder / str(event["file"])
        if not path.is_file():
            problems.append(f"{event['file']} is missing")
        elif hashlib.sha256(path.read_bytes()).hexdigest() != event["sha256"]:
            problems.append(f"{event['file']} is not what was collected")
    return Integrity(tuple(problems), len(record.events) + len(evidence))
