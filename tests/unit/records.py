"""Records of made-up runs, written as a real run writes its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.trace import FORMAT, Trace
from reports.record import Record, load

CONFTEST_PLUGINS = ('"harness.plugin"]', '"harness.plugin", "reports.plugin"]')  # for mini suites
NODE = "suites/test_50_gpu.py::test_"
PASSED: dict[str, tuple[str, str]] = {"bound": ("passed", ""), "viable": ("passed", "")}


def write(
    folder: Path,
    tests: Mapping[str, tuple[str, str]] = PASSED,
    *,
    stages: Mapping[str, float] | None = None,
    facts: Mapping[str, object] | None = None,
    profile: Mapping[str, Any] | None = None,
    evidence: Sequence[str] = (),
    exit_status: int | None = 0,
) -> Record:
    """A run whose folder's name is its id; tests by name: (outcome, message)."""
    folder.mkdir(parents=True)
    lab = {"name": "lab", "target": {"kind": "ssh"}, "standins": []}
    with Trace(folder / "record.jsonl") as trace:
        trace.event(
            "run",
            state="started",
            format=FORMAT,
            id=folder.name,
            command="pytest -m acceptance",
            profile=lab | dict(profile or {}),
            profile_digest="0" * 64,
            commit="c" * 40,
            runner="runner",
            python="3.11",
            pytest="9",
        )
        for name, value in (facts or {}).items():
            trace.event("fact", name=name, value=value)
        for name, seconds in (stages or {"gpu": 1.0}).items():
            trace.event("stage", name=name, state="started", provision="always")
            trace.event(
                *("stage",), name=name, state="ok", seconds=seconds, how="provisioned", facts={}
            )
        for name, (outcome, message) in tests.items():
            _test(trace, folder, name, outcome, message, evidence)
        if exit_status is not None:
            trace.event(
                "run",
                state="ended",
                exit_status=exit_status,
                undone=0,
                undo_failed=[],
                kept=False,
                error=None,
            )
    return load(folder)


def _test(
    trace: Trace, folder: Path, name: str, outcome: str, message: str, evidence: Sequence[str]
) -> None:
    from harness.evidence import Evidence

    nodeid = name if "::" in name else f"{NODE}{name}"
    if outcome in ("failed", "error"):
        Evidence(folder / "evidence", trace).collect(nodeid, dict.fromkeys(evidence, "text"))
    trace.event(
        "test",
        nodeid=nodeid,
        phase="setup" if outcome == "error" else "call",
        outcome=outcome,
        seconds=0.25,
        clauses=["gpu.bind"],
        message=message or None,
    )
