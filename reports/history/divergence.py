"""The first step in which a failed run differs from the last good one, and what had changed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from harness import exits
from reports.history.bands import Band
from reports.history.history import History, Past
from reports.record.measures import SETTING

# How runs end that say nothing of the lab.
ELSEWHERE = (
    *(exits.INTERRUPTED, exits.HARNESS_ERROR, exits.USAGE, exits.NO_TESTS),
    *(exits.UNREACHABLE, exits.REFUSED),
)
FINE = ("ok", "passed", "not assessed", "expected failure")


@dataclass(frozen=True)
class Figure:
    """A figure that is worse than its band."""

    name: str
    value: float
    usual: Band


@dataclass(frozen=True)
class Divergence:
    """The first step that went otherwise, and the figures that did, in the order of the stages.

    `step` is '' where every step went as before, as in a run that failed for a figure alone.
    `changed`: condition -> (then, now).
    """

    failed: Past
    good: Past | None
    step: str
    then: str
    now: str
    figures: tuple[Figure, ...]
    changed: dict[str, tuple[str, str]]


def newest(history: History, lab: str, last: int = 200) -> Divergence | None:
    """The divergence of a lab's newest failed run; None where none of the last runs failed."""
    runs = history.runs(lab, last)
    ended = (run for run in reversed(runs) if run.exit_status not in ELSEWHERE)
    failed = next((run for run in ended if not run.good), None)
    if failed is None:
        return None
    before = [run for run in runs[: runs.index(failed)] if run.good]
    now = history.steps(failed.id)
    bad = next((name for name, status in now if status not in FINE), None)
    # Of part of the suites alone a run may be good that says nothing of this step.
    knows = (run for run in reversed(before) if bad is None or bad in dict(history.steps(run.id)))
    good = next(knows, before[-1] if before else None)
    step, was, is_ = _first(history.steps(good.id) if good else [], now)
    differ = changed(history.conditions(good.id) if good else {}, history.conditions(failed.id))
    figures = _figures(history, lab, failed, before, last)
    return Divergence(failed, good, step, was, is_, figures, differ if good else {})


def _first(then: Sequence[tuple[str, str]], now: Sequence[tuple[str, str]]) -> tuple[str, str, str]:
    """The first step of `now` that went otherwise, or was not there; what it was, what it is."""
    before = dict(then)
    for name, status in now:
        was = before.get(name, "not there")
        if status != was and (name in before or status not in FINE):
            return name, was, status
    seen = dict(now)
    for name, status in then:
        if name not in seen:
            return name, status, "did not run"
    return "", "", ""


def _figures(
    history: History, lab: str, failed: Past, before: Sequence[Past], last: int
) -> tuple[Figure, ...]:
    usual = history.usual(lab, {run.id for run in before}, last)
    return tuple(
        Figure(name, point.value, usual[name])
        for name, points in history.measures(lab, last).items()
        for point in points
        if point.run == failed.id and not point.waived
        if name in usual and usual[name].left_by(name, point.value)
    )


def changed(then: dict[str, str], now: dict[str, str]) -> dict[str, tuple[str, str]]:
    """The conditions that differ, among those that the failed run got to know.

    Of a profile the values, where the history has those of both runs, and else the digest.
    """
    settings = [name for name in {**now, **then} if name.startswith(SETTING)]
    names = [name for name in now if name not in settings]
    if {*settings} & {*then} and {*settings} & {*now}:
        names = [name for name in names if name != "profile"] + settings
    pairs = {name: (then.get(name, "-"), now.get(name, "-")) for name in names}
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}
