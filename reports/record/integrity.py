"""Whether a record and its evidence are still what the run wrote."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from harness.record.trace import GENESIS, chain_digest
from reports.record.record import Event, Record


@dataclass(frozen=True)
class Integrity:
    """The result of a check; without `problems` all digests agree.

    `incomplete`: the record has no end. Either the run was killed, or lines were taken from its
    end; the record alone cannot tell which.
    """

    problems: tuple[str, ...]
    incomplete: bool
    checked: int

    @property
    def intact(self) -> bool:
        return not self.problems and not self.incomplete

    def of(self, record: Record) -> Record:
        """The record, with what was found: it voids every verdict on it."""
        return replace(record, altered=self.problems)


def check(record: Record, known: Mapping[str, str] | None = None) -> Integrity:
    """Follow the chain of digests through the record, and digest each file of evidence again.

    Every event carries `chain`: the sha256 over the previous event's chain and the event itself. It
    reveals a change by accident or by hand, and a cut at the front or in the middle, but not a file
    that was rewritten as a whole with a new chain. `known` maps places to digests of the record
    that were kept there; they reveal that as well.
    """
    found = [*_chain(record), *_evidence(record)]
    found += [
        f"{where} has another sha256 of record.jsonl: {digest}"
        for where, digest in (known or {}).items()
        if digest != record.digest
    ]
    checked = len(record.events) + len(record.kind("evidence"))
    return Integrity(tuple(found), record.end is None, checked)


def noted(run: str, *folders: Path) -> dict[str, str]:
    """The sha256 of a run's record in the summary.json of each folder, by that file's path.

    The digest of a run without an end is left out: the record may have grown since. So is a file
    that cannot be read, since it was cut off: it is made anew.
    """
    found = {}
    for path in {folder.resolve() / "summary.json" for folder in folders}:
        try:
            said = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):  # what a crash or a full disk left notes nothing
            continue
        if not isinstance(said, dict):
            continue
        if said.get("id") == run and said.get("exit_status") is not None:
            found[str(path)] = str(said.get("record_sha256"))
    return found


def _chain(record: Record) -> Iterator[str]:
    chain = GENESIS
    for number, line in enumerate(record.lines, 1):
        event = json.loads(line)
        chain = chain_digest(chain, event)
        # A value given twice, or written otherwise, would be another to another reader.
        if event.get("chain") != chain or json.dumps(event).encode() != line:
            yield f"record.jsonl line {number} is not what was written"
            break
    if record.end is not None and record.end is not record.events[-1]:
        yield "record.jsonl goes on after its end"
    if record.end is not None and record.rest:
        yield f"record.jsonl has {record.rest} bytes after its last line"


def _evidence(record: Record) -> Iterator[str]:
    listed = {str(event["file"]): event for event in record.kind("evidence")}
    for name, event in listed.items():
        path = record.folder / name
        if not path.resolve().is_relative_to(record.folder.resolve()):
            yield f"{name} is not in the run's folder"
        elif not path.is_file():
            yield f"{name} is missing"
        elif hashlib.sha256(_collected(path, event)).hexdigest() != event["sha256"]:
            yield f"{name} is not what was collected"
    if record.end is None:
        return  # what lies there beside was to be listed at the end
    for path in sorted((record.folder / "evidence").rglob("*")):
        name = path.relative_to(record.folder).as_posix()
        if name not in listed and (path.is_symlink() or not path.is_dir()):
            yield f"{name} is in no event of the record"


def _collected(path: Path, event: Event) -> bytes:
    """The part of a file that was collected; the console of a kept lab grows after the run."""
    data = path.read_bytes()
    return data[: event["bytes"]] if event["nodeid"] is None else data
