"""What a run has shown, per capability: the rules are tried in the order of RULES.

A capability is one suite: what its tests prove of the lab.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from harness import exits
from reports.record import NOT_ASSESSED, Record, Test

QUALIFIED, CONDITIONAL, FAILED = "qualified", "conditional", "failed"
ORDER = (QUALIFIED, CONDITIONAL, NOT_ASSESSED, FAILED)  # the worst is last

RULES = (FAILED, NOT_ASSESSED, CONDITIONAL, QUALIFIED)  # the first that applies; texts.py says them


@dataclass(frozen=True)
class Verdict:
    """The verdict on one capability, or on the whole run, and the reasons for it."""

    name: str
    verdict: str
    reasons: tuple[str, ...]
    counts: Counter[str]


def capabilities(record: Record) -> tuple[Verdict, ...]:
    """One verdict a suite, in the order in which they ran."""
    suites: dict[str, list[Test]] = {}
    for test in record.tests:
        suites.setdefault(test.suite, []).append(test)
    return tuple(_judge(name, tests, record) for name, tests in suites.items())


def overall(record: Record) -> Verdict:
    """The verdict on the run: that of its worst capability, or what `besides` says if worse."""
    parts = capabilities(record)
    more = besides(record)
    reasons = [reason for _, reason in more]
    reasons += [f"{part.name}: {part.verdict}" for part in parts if part.verdict != QUALIFIED]
    verdicts = [part.verdict for part in parts] or [NOT_ASSESSED]
    worst = max([*verdicts, *(verdict for verdict, _ in more)], key=ORDER.index)
    total = sum((part.counts for part in parts), Counter[str]())
    return Verdict("overall", worst, tuple(reasons), total)


def besides(record: Record) -> list[tuple[str, str]]:
    """(verdict, reason) of what is no capability's: a host not put back, a run that was stopped."""
    found = []
    if record.end is None:
        found.append((NOT_ASSESSED, "the run was cut off: its record has no end"))
    elif record.end["undo_failed"] or record.end["error"]:
        found.append((FAILED, "the host is not as it was before"))
    elif record.exit_status == exits.INTERRUPTED:
        found.append((NOT_ASSESSED, "the run was interrupted"))
    if record.facts.get("baseline", {}).get("regression"):
        found.append((CONDITIONAL, "a figure is worse than usual, or a waiver expired"))
    return found


def _judge(name: str, tests: Sequence[Test], record: Record) -> Verdict:
    counts = Counter(test.status for test in tests)
    bad = [test for test in tests if test.status in ("failed", "error", "blocked")]
    if bad:
        return Verdict(name, FAILED, tuple(dict.fromkeys(map(_reason, bad))), counts)
    open_ = [test for test in tests if test.status == NOT_ASSESSED]
    reasons = tuple(dict.fromkeys(test.cause[0] for test in open_))
    if not counts["passed"]:
        return Verdict(name, NOT_ASSESSED, reasons, counts)
    if record.standins:
        reasons += ("parts of the lab are stand-ins",)
    return Verdict(name, CONDITIONAL if reasons else QUALIFIED, reasons, counts)


def _reason(test: Test) -> str:
    """Why a test did not pass; what is blocked says which stage, the same for many tests."""
    return test.cause[0] if test.status == "blocked" else f"{test.name}: {test.cause[0]}"
