"""Records of made-up hosts, each a copy of a kept record with some of its values changed."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from harness.record.trace import GENESIS, chain_digest
from tests.unit import kept

Event = dict[str, Any]


def copy(
    folder: Path,
    name: str,
    shown: Mapping[str, Any],
    fails: Mapping[str, str] | None = None,
    *,
    source: Path = kept.PASSED,
    exit_status: int | None = None,
) -> Path:
    """A run's folder for a host of that name, its record chained anew; without evidence.

    `shown` are rows of the inventory by their English labels. `fails`: what each test says that is
    to fail. With an `exit_status` of its own the run had no tests.
    """
    run = folder / f"20270131T020000Z-{name}"
    run.mkdir(parents=True)
    chain, lines = GENESIS, []
    events = [*_events(source, name, {"Host": [name], **shown}, fails or {}, exit_status)]
    failed = {e["nodeid"].rpartition("::")[2] for e in events if e.get("status") == "failed"}
    assert not fails or {*fails} <= failed, "there is no test of that name"
    for event in events:
        event["chain"] = chain = chain_digest(chain, event)
        lines.append(json.dumps(event))
    (run / "record.jsonl").write_text("\n".join(lines) + "\n")
    return run


def _events(
    source: Path,
    name: str,
    shown: Mapping[str, Any],
    fails: Mapping[str, str],
    exit_status: int | None,
) -> Iterator[Event]:
    for line in (source / "record.jsonl").read_text().splitlines():
        event: Event = json.loads(line)
        kind = event["kind"]
        if kind == "evidence" or (exit_status is not None and kind not in ("run", "fact")):
            continue
        for row in event.get("shown", ()):
            row["value"] = shown.get(row["label"].get("en"), row["value"])
        if kind == "run" and event["state"] == "started":
            target = {"kind": "ssh", "address": f"ssh://root@{name}.example"}
            event["profile"] = event["profile"] | {"name": name, "target": target}
            event["id"] = f"20270131T020000Z-{name}"
        elif kind == "run":
            event["exit_status"] = exit_status or (1 if fails else event["exit_status"])
        elif kind == "test" and (said := fails.get(event["nodeid"].rpartition("::")[2])):
            event |= {"outcome": "failed", "status": "failed", "message": said}
        yield event
