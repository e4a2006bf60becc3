"""What is new in a run (`--fail-on new`): failures, passes, and figures that are worse than usual.

A stage or a test is held against how it went when it was last looked at on this lab, whichever run
that was: one of part of the suites, or one that a failed stage has cut short, hides nothing. It
counts by its name: why it failed, and whether for the same reason, is for a reader.
"""

from __future__ import annotations

from typing import Any

from reports.history.gate import LAST, good_runs, rounded
from reports.history.history import History
from reports.record.measures import measures
from reports.record.record import Record

FACT = "news"  # what a run's record has of all this
BAD = ("failed", "error")
FINE = ("ok", "passed")

Fact = dict[str, Any]


def find(record: Record, history: History) -> Fact:
    """What is new in a run. Without an earlier run of its lab (`earlier`) every failure is."""
    lab, good = history.lab(record), good_runs(record, history)
    before = history.seen(lab, LAST, but=record.id)
    bad = [name for name, status in record.steps if status in BAD]
    usual = history.usual(lab, good, LAST)
    return {
        "earlier": sum(run.id != record.id for run in history.runs(lab, LAST)),
        "last_good": good[-1] if good else None,
        "failures": [name for name in bad if before.get(name) not in BAD],
        "known": [name for name in bad if before.get(name) in BAD],
        "passes": [n for n, status in record.steps if status in FINE and before.get(n) in BAD],
        "slower": [
            {"name": name, "value": value, **rounded(usual[name])}
            for name, value in measures(record).items()
            if name in usual and usual[name].left_by(name, value)
        ],
    }


def tolerable(record: Record, news: Fact, failed: int) -> bool:
    """Whether nothing has failed but what had failed before; `failed`: reports that pytest has.

    What else failed (a test that is none of ours, a file that was not collected) is in no record.
    """
    ours = [test for test in record.kind("test") if test["outcome"] in BAD]
    return bool(news["known"]) and not news["failures"] and len(ours) == failed
