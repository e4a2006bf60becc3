"""What is known of how a run ended: which of several statuses counts, and what is remembered."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import pytest

from harness import exits
from harness.host.command import HostUnreachable
from harness.outcome import Outcome, not_assessed
from harness.run.stage import StageFailed
from harness.undo.journal import Entry
from harness.undo.undo import UndoResult

ENTRY = Entry(1, "gpu", "bind", (("true",),), None, False)
DONE, LEFT = UndoResult("run", ENTRY, "undone"), UndoResult("run", ENTRY, "failed")

# What may be known of a run, and the exit status for it; the most urgent first.
URGENCY: list[tuple[dict[str, Any], int]] = [
    ({"unreachable": True}, exits.UNREACHABLE),
    ({"undo_error": "why"}, exits.RESIDUE),
    ({"undo": [DONE, LEFT]}, exits.RESIDUE),
    ({"pytest_status": 2}, exits.INTERRUPTED),
    ({"pytest_status": 4}, exits.USAGE),
    ({"pytest_status": 3}, exits.HARNESS_ERROR),
    ({"harness_errors": ["why"]}, exits.HARNESS_ERROR),
    ({"refused": True}, exits.REFUSED),
    ({"pytest_status": 1}, exits.FAILED),
    ({"pytest_status": 5}, exits.NO_TESTS),
    ({"regression": True}, exits.REGRESSION),
    ({"kept": True}, exits.PASSED),
    ({"undo": [DONE]}, exits.PASSED),
    ({"unreachable": False}, exits.PASSED),
    ({}, exits.PASSED),
]


@pytest.mark.parametrize(("known", "status"), URGENCY)
def test_each_has_its_status(known: dict[str, Any], status: int) -> None:
    assert Outcome(**known).exit_status == status


def test_of_two_the_more_urgent_counts() -> None:
    for (first, status), (second, _) in combinations(URGENCY, 2):
        if not first.keys() & second.keys():
            assert Outcome(**first, **second).exit_status == status, (first, second)


def test_of_all_the_most_urgent_counts() -> None:
    everything: dict[str, Any] = {}
    for known, status in reversed(URGENCY):
        everything |= known
        assert Outcome(**everything).exit_status == status, everything


def test_only_the_first_failure_makes_a_host_unreachable() -> None:
    lost = HostUnreachable("gone")
    for errors, unreachable in (
        ([lost], True),
        ([StageFailed("gpu", lost)], True),
        ([lost, KeyError()], True),
        ([KeyError(), lost], False),
        ([None, lost], False),
        ([], None),
    ):
        outcome = Outcome()
        for error in errors:
            outcome.note_first_failure(error)
        assert outcome.unreachable is unreachable, errors


def test_an_error_of_the_harness_is_told_once() -> None:
    outcome = Outcome()
    for text in ("", "one", "two", "one", ""):
        outcome.note_harness_error(text)
    assert outcome.harness_errors == ["one", "two"]


def test_what_pytest_alone_would_say() -> None:
    found = {status: (o.failed, o.interrupted) for status in range(6) if (o := Outcome(status))}
    others = dict.fromkeys((1, 3, 4, 5), (True, False))
    assert found == {0: (False, False), 2: (True, True)} | others
    assert not Outcome(unreachable=True, refused=True, harness_errors=["why"]).failed


def test_what_is_left_is_what_could_not_be_taken_back() -> None:
    assert Outcome(undo=[DONE, LEFT, DONE]).left == [LEFT]
    assert Outcome(undo=[DONE]).left == []


def test_not_assessed_is_a_skip_that_says_so() -> None:
    with pytest.raises(pytest.skip.Exception, match=r"^not assessed: no such silicon$"):
        not_assessed("no such silicon")
