"""Whether a fault is caught, by what became of the run; in both forms by the same rules."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vlab.faults import Fault

FAILED = ("failed", "error")
BLOCKED, NOT_ASSESSED = "blocked", "not assessed"  # as a record has them
CLAUSE = re.compile(r"\[clause ([\w.-]+)\]")


@dataclass
class Ran:
    """What became of a run: its tests by name, and what is wrong with its end.

    `tests` are events of its record.
    """

    tests: Mapping[str, Mapping[str, Any]]
    exit: int
    unclean: Sequence[str]
    mistakes: Sequence[str] = ()  # of the entry: the fault has not come about as it says


def verdict(fault: Fault, ran: Ran, good: Ran, suites: Collection[str]) -> list[str]:
    """Why a fault is not caught; nothing if it is. `good` is a run of the `suites` without it."""

    def told_of(line: str) -> bool:
        return bool(fault.left) and fault.left in line

    left = fault.left and not any(map(told_of, ran.unclean))
    failed = {name: test for name, test in ran.tests.items() if test["outcome"] in FAILED}
    held = {name: _clauses(test) for name, test in failed.items()}
    seen = {clause for found in held.values() for clause in found}
    hit = [name for name in failed if fault.exit and fault.clause in held[name]]
    told = [name for name in hit if all(text in failed[name]["message"] for text in fault.says)]
    others = [n for n in failed if n not in hit and not held[n] & {*fault.also}]
    lacking = [text for text in fault.says if not any(text in failed[n]["message"] for n in hit)]
    borne = fault.left or not fault.exit
    return [
        *ran.mistakes,
        *([f"it does not say that '{fault.left}' is left"] if left else []),
        *([] if hit or borne else [f"clause {fault.clause or '(none)'} does not fail"]),
        *([f"its message does not say {lacking}"] if hit and not told else []),
        *(f"{name} fails, too: {failed[name]['message']}" for name in others),
        *(f"{clause} does not fail with it" for clause in fault.also if clause not in seen),
        *_not_assessed(fault, ran, good, suites),
        *(f"left on the host: {line}" for line in ran.unclean if not told_of(line)),
        *([] if ran.exit == fault.exit else [f"exit status {ran.exit}, expected {fault.exit}"]),
    ]


def _not_assessed(fault: Fault, ran: Ran, good: Ran, suites: Collection[str]) -> Iterator[str]:
    """What is not as in a good run, though it does not depend on the fault."""
    for name, before in good.tests.items():
        suite = suite_of(name)
        if suite not in suites:
            continue
        status = ran.tests[name]["status"] if name in ran.tests else "not run"
        may = {before["status"], "passed", *FAILED}
        if fault.exit and fault.suite in (suite, "platform"):  # on which all stages rest
            may |= {BLOCKED, NOT_ASSESSED}
        if status not in may:
            yield f"{name} is {status}: {ran.tests.get(name, {}).get('message')}"


def suites(fault: Fault) -> Collection[str]:
    """The fault's own, and one that rests on nothing of it but platform."""
    return {fault.suite, "network" if fault.suite == "gpu" else "gpu"}


def suite_of(nodeid: str) -> str:
    """The suite of a test."""
    return nodeid.partition("::")[0].removeprefix("suites/test_").removesuffix(".py")


def _clauses(test: Mapping[str, Any]) -> set[str]:
    """The clauses that a failed test stands for: of a failed stage its own."""
    found = CLAUSE.findall(test["message"] or "")
    if test["outcome"] == "error" or found:
        return {*found} or {""}
    return {*test["clauses"]}
