"""Records of made-up runs, written as a real run writes its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, make_dataclass, replace
from pathlib import Path
from typing import Any

from fixtures.common.parts import PARTS, Part
from fixtures.container.nvidia_smi import SmiGpu
from fixtures.platform.host_inventory import HostInventory
from harness.record.evidence import Evidence
from harness.record.facts import as_json, shown, shown_in
from harness.record.trace import FORMAT, Trace
from reports.record.reading import load
from reports.record.record import Record

NODE = "suites/test_gpu.py::test_"
PASSED: dict[str, tuple[str, str]] = {"bound": ("passed", ""), "viable": ("passed", "")}
LAB = {"name": "lab", "target": {"kind": "ssh", "address": "ssh://root@lab"}}
# As the harness tells them apart, by what the message says.
STATUSES = {"not assessed": "not assessed", 'stage "': "blocked", "skip": "skipped"}


@dataclass
class Made:
    """A run that is to be written; tests by name: (outcome, message)."""

    tests: Mapping[str, tuple[str, str]] = field(default_factory=lambda: PASSED)
    stages: Mapping[str, float] = field(default_factory=lambda: {"gpu": 1.0})
    facts: Mapping[str, object] = field(default_factory=dict)
    profile: Mapping[str, Any] = field(default_factory=dict)
    evidence: Sequence[str] = ()
    exit_status: int | None = 0
    kept: bool = False
    undo_failed: Sequence[str] = ()
    events: Sequence[tuple[str, Mapping[str, object]]] = ()  # others, as they are
    commit: str | None = "c" * 40
    left_out: Sequence[str] = ()  # tests that were collected, and not run

    def write(self, folder: Path) -> None:
        with Trace(folder / "record.jsonl") as trace:
            self._start(trace, folder.name)
            for name, seconds in self.stages.items():
                _stage(trace, name, seconds)
            for name, (outcome, message) in self.tests.items():
                _test(trace, folder, name, outcome, message, self.evidence)
            for kind, fields in self.events:
                trace.event(kind, **fields)
            if self.exit_status is not None:
                self._end(trace)

    def _start(self, trace: Trace, id: str) -> None:
        trace.event(
            "run",
            state="started",
            format=FORMAT,
            id=id,
            command="pytest -m acceptance",
            profile=LAB | dict(self.profile),
            profile_digest="0" * 64,
            commit=self.commit,
            runner="runner",
            python="3.11",
            pytest="9",
        )
        every = [_nodeid(name) for name in [*self.tests, *self.left_out]]
        facts = {"collected": {"tests": every, "only": []}, "parts": parts(), **self.facts}
        for name, value in facts.items():
            found = {"value": as_json(value, name), "shown": shown_in(value, name)}
            trace.event("fact", name=name, **found)

    def _end(self, trace: Trace) -> None:
        trace.event(
            "run",
            state="ended",
            exit_status=self.exit_status,
            undone=0,
            undo_failed=list(self.undo_failed),
            kept=self.kept,
            error=None,
        )


def write(folder: Path, tests: Mapping[str, tuple[str, str]] = PASSED, **more: Any) -> Record:
    """A run whose folder's name is its id; `more` are fields of `Made`."""
    folder.mkdir(parents=True)
    Made(tests, **more).write(folder)
    return load(folder)


def host(name: str, machine: str) -> HostInventory:
    """What is known of a lab host, of which nothing matters but its name and its id."""
    return HostInventory((name,), (machine,), (), (), (), (), (), ())


def gpu(name: str | None = None, driver_version: str | None = None) -> tuple[SmiGpu, ...]:
    """A GPU as nvidia-smi lists it."""
    return (SmiGpu(driver_version, name, *(None, None, None, None, None, None, None)),)


def parts(*others: Part) -> tuple[Part, ...]:
    """The parts of a lab in which all are real but `others`."""
    real = {name: replace(part, state="real", says="1.0") for name, part in PARTS.items()}
    return tuple({**real, **{part.name: part for part in others}}.values())


def figures(**values: float) -> object:
    """Facts that declare these figures, as those of an answer do; the rates by their names."""
    units = {name: "1/s" if name.endswith("per_second") else "s" for name in values}
    fields = [(k, float, shown(k, k, place="answer", unit=unit)) for k, unit in units.items()]
    return make_dataclass("Figures", fields)(**values)


def _nodeid(name: str) -> str:
    return name if "::" in name else f"{NODE}{name}"


def _stage(trace: Trace, name: str, seconds: float) -> None:
    trace.event("stage", name=name, state="started", provision="always")
    ended = {"state": "ok", "seconds": seconds, "how": "provisioned", "facts": {}}
    trace.event("stage", name=name, **ended)


def _test(
    trace: Trace, folder: Path, name: str, outcome: str, message: str, evidence: Sequence[str]
) -> None:
    nodeid = _nodeid(name)
    if outcome in ("failed", "error"):
        Evidence(folder / "evidence", trace).collect(nodeid, dict.fromkeys(evidence, "text"))
    kind = next((kind for start, kind in STATUSES.items() if message.startswith(start)), outcome)
    trace.event(
        "test",
        nodeid=nodeid,
        phase="setup" if outcome == "error" else "call",
        outcome=outcome,
        seconds=0.25,
        clauses=["gpu.bind"],
        message=message or None,
        status=kind if outcome == "skipped" else outcome,
        fixtures=["gpu"],
    )
