"""A fault on a virtual lab: set off, an acceptance run as a user starts it, taken back, judged.

The run is a process of its own, and what is judged is its exit status and its record
(reports/record.schema.json): a test that failed, with its clause and message; those that had to be
assessed; and whether the host is as it was, by the fingerprint that the run itself compares.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from vlab import face
from vlab.errors import VlabError
from vlab.face import Machine, Say, Settings
from vlab.faults import Fault, OnLab, filled
from vlab.faults.verdict import NOT_ASSESSED, Ran, suite_of, suites, verdict
from vlab.qemu import GPU_ID

ROOT = Path(__file__).parents[2]
RUNS = ROOT / "reports" / "runs"
BEGUN = re.compile(r"lab .*, run (\S+): ")  # what a run says of itself first
PATIENCE = 300.0  # seconds for a script, at usual pace

# The lab's GPU and its IOMMU group.
LOOK = f"""
gpu=$(lspci -Dn -d {GPU_ID} | head -n 1 | cut -d ' ' -f 1)
echo "$gpu $(basename "$(readlink "/sys/bus/pci/devices/$gpu/iommu_group")")"
"""


@dataclass(frozen=True)
class Found:
    """What a fault came to: `why` it is not caught, nothing if it is; seconds with its run.

    `spoiled`: the lab is not as it was, so that nothing more can be tried on it.
    """

    fault: Fault
    why: Sequence[str]
    seconds: float
    spoiled: bool = False

    def __str__(self) -> str:
        said = "not caught" if self.why else "caught"
        line = f"{said}: {self.fault.name} ({self.fault.clause or '-'}), {self.seconds:.0f} s"
        return "\n    ".join([line, *self.why])


def sample(wanted: Sequence[Fault], count: int, turn: int) -> list[Fault]:
    """So many of those that are `sampled`, and with the next `turn` the next ones."""
    some = [f for f in wanted if f.lab and f.lab.sampled]
    return [some[(turn * count + n) % len(some)] for n in range(min(count, len(some)))]


def each(wanted: Sequence[Fault], name: str, say: Say) -> Iterator[Found]:
    """Try the faults one after the other, on the lab of that name; without one on one of its own.

    Where a fault has spoiled a lab of its own, the next has a new one; VlabError on another's.
    """
    left = [*wanted]
    while left:
        with _lab(name, say) as lab:
            spoiled = False
            while left and not spoiled:
                found = _found(left.pop(0), lab, say)
                spoiled = found.spoiled
                yield found
            if left and name:
                raise VlabError(f"lab '{name}' is spoiled; {len(left)} faults were not tried")


def _found(fault: Fault, lab: Machine, say: Say) -> Found:
    """What came of a fault; that it could not be tried at all is no end of the others."""
    began = time.monotonic()
    try:
        return tried(fault, lab, say)
    except VlabError as error:
        return Found(here(fault), [str(error)], time.monotonic() - began, spoiled=True)


@contextmanager
def _lab(name: str, say: Say) -> Iterator[Machine]:
    """A lab that stays up over many runs, and is in use by none of us meanwhile: runs lease it."""
    if name:
        labs = [lab for lab in face.find(say) if lab.name == name]
        if not labs:
            raise VlabError(f"no lab '{name}' is up: 'python -m vlab up --name {name}' starts one")
        yield labs[0]
        return
    lab = face.up(Settings(), name=f"faults-{os.getpid()}", say=say)
    try:
        yield lab
    finally:
        face.down(lab, force=True)


def tried(fault: Fault, lab: Machine, say: Say) -> Found:
    """Set a fault off on a lab, have the suites run, take it back, and judge."""
    began = time.monotonic()
    gpu, group = _script(lab, LOOK).split()
    fault = filled(here(fault), {"host": "vlab", "gpu": gpu, "group": group})
    on_lab = fault.lab or OnLab()
    chosen = on_lab.suites or suites(fault)
    mistakes: list[str] = []
    try:
        if not on_lab.when:
            _script(lab, on_lab.set)
        status, folder = _accept(lab, fault, chosen, mistakes, say)
    finally:
        spoiled = _taken_back(lab, on_lab.back, mistakes)
    ran, good, profile = read(folder, status, chosen, mistakes)
    fault = filled(fault, profile)
    why = verdict(fault, ran, good, chosen)
    return Found(fault, why, time.monotonic() - began, spoiled or bool(ran.unclean))


def here(fault: Fault) -> Fault:
    """The fault as it is to be on a lab."""
    on_lab = fault.lab or OnLab()
    others = {key: getattr(on_lab, key) for key in ("profile", "says", "also", "exit")}
    return replace(fault, **{key: value for key, value in others.items() if value is not None})


def read(
    folder: Path, status: int, chosen: Collection[str], mistakes: Sequence[str] = ()
) -> tuple[Ran, Ran, Mapping[str, str]]:
    """What became of a run by its record; what had become of it in a good one; its profile.

    What a virtual lab cannot show stands with the clauses, which are in the record.
    """
    lines = (folder / "record.jsonl").read_text("utf-8").splitlines()
    events: list[dict[str, Any]] = [json.loads(line) for line in lines]
    facts = {event["name"]: event["value"] for event in events if event["kind"] == "fact"}
    tests = {event["nodeid"]: event for event in events if event["kind"] == "test"}
    excused = {one["id"] for one in facts["guide"]["clauses"] if "vlab" in one["not_assessed"]}
    good = {
        name: {"status": NOT_ASSESSED if excused & {*_clauses(tests, name)} else "passed"}
        for name in facts["collected"]["tests"]
        if suite_of(name) in chosen
    }
    profile = {
        f"{section}_{key}": str(value)
        for section, values in events[0]["profile"].items()
        if isinstance(values, dict)
        for key, value in values.items()
    }
    return Ran(tests, status, [*_unclean(events[-1])], mistakes), Ran(good, 0, ()), profile


def _clauses(tests: Mapping[str, Mapping[str, Any]], name: str) -> Sequence[str]:
    found: Sequence[str] = tests.get(name, {}).get("clauses", ())
    return found


def _unclean(last: Mapping[str, Any]) -> Iterator[str]:
    """What is wrong with a run's end, by its last event."""
    if last["kind"] != "run" or last["state"] != "ended":
        yield "the record has no end"
        return
    yield from last["undo_failed"]
    yield from filter(None, [last["error"], *last.get("trouble", ())])


def _accept(
    lab: Machine, fault: Fault, chosen: Collection[str], mistakes: list[str], say: Say
) -> tuple[int, Path]:
    """An acceptance run of the suites on a lab: its exit status and its folder."""
    folder: Path | None = None
    when = fault.lab.when if fault.lab else ""
    strike: subprocess.Popen[str] | None = None
    with subprocess.Popen(
        _command(chosen),
        cwd=ROOT,
        env=_environment(lab, fault),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as process:
        assert process.stdout is not None
        try:
            for line in process.stdout:
                say(f"    | {line.rstrip()}")
                if folder is None and (begun := BEGUN.match(line)):
                    folder = RUNS / begun[1]
                if when and strike is None and when in line and fault.lab is not None:
                    strike = _begun(lab, fault.lab.set)
            status = process.wait()
        finally:
            if process.poll() is None:
                process.terminate()  # it undoes, and ends
                process.communicate()
    if when and strike is None:
        mistakes.append(f"the run said nothing with {when!r}, so the fault was not set off")
    elif strike is not None:
        _ended(strike, lab, mistakes.append)
    if folder is None or not (folder / "record.jsonl").exists():
        raise VlabError(f"the run of {fault.name} has left no record, and ended with {status}")
    return status, folder


def _command(chosen: Collection[str]) -> list[str]:
    marks = f"acceptance and ({' or '.join(sorted(chosen))})"
    return [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-m", marks]


def _environment(lab: Machine, fault: Fault) -> dict[str, str]:
    """Ours, with the settings of the lab and of the fault in place of any other."""
    settings = profile_of(lab)
    for section, values in (fault.profile or {}).items():
        for key, value in values.items():
            said = value if isinstance(value, str) else json.dumps(value)
            settings[f"{section}__{key}".upper()] = said
    ours = {key: value for key, value in os.environ.items() if not key.startswith("ACCEPT_")}
    return ours | {f"ACCEPT_{key}": value for key, value in settings.items()}


def profile_of(lab: Machine) -> dict[str, str]:
    """The keys of a profile by which a run has this very lab, which is to have its settings."""
    wanted = ("gpus", "multifunction", "memory", "cpus")
    settings = {f"VLAB__{key.upper()}": json.dumps(getattr(lab.settings, key)) for key in wanted}
    return {"VLAB__NAME": lab.name, "VLAB__FRESH": "false", **settings}


def _script(lab: Machine, script: str) -> str:
    """What a shell script says that root carries out in a lab; VlabError where it fails."""
    trouble: list[str] = []
    said = _ended(_begun(lab, script), lab, trouble.append)
    if trouble:
        raise VlabError(f"lab '{lab.name}': {trouble[0]}")
    return said


def _begun(lab: Machine, script: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*lab.ssh, shlex.join(["sh", "-euc", script])],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def _ended(running: subprocess.Popen[str], lab: Machine, trouble: Callable[[str], object]) -> str:
    """What a script has said, when it has ended."""
    try:
        said, _ = running.communicate(timeout=PATIENCE * face.pace_of(lab))
    except subprocess.TimeoutExpired:
        running.kill()
        said, _ = running.communicate()
        trouble(f"a script of the fault has not come back; it said:\n{said}")
        return said
    if running.returncode:
        trouble(f"a script of the fault ended with {running.returncode}; it said:\n{said}")
    return said


def _taken_back(lab: Machine, script: str, mistakes: list[str]) -> bool:
    """Take a fault back; whether that has failed."""
    try:
        _script(lab, script)
    except VlabError as error:
        mistakes.append(f"it cannot be taken back: {error}")
        return True
    return False
