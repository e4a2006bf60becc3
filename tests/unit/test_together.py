"""Questions side by side: their results, errors, and the stage that the record has them with."""

from __future__ import annotations

import threading
from concurrent.futures import Future

import pytest

from harness.errors import LabError
from harness.record.trace import STAGE, at_stage
from harness.together import AT_ONCE, Together

PATIENCE = 60  # seconds; nothing here takes any


def test_questions_are_asked_at_once_and_each_has_its_result() -> None:
    all_here = threading.Barrier(AT_ONCE)

    def ask(number: int) -> int:
        all_here.wait(PATIENCE)
        return number

    with Together() as together:
        asked = [together.ask(ask, number) for number in range(AT_ONCE)]
        assert [each.result() for each in asked] == [*range(AT_ONCE)]


def test_a_question_belongs_to_the_stage_that_asks_it() -> None:
    with at_stage("gpu"), Together() as together:
        assert together.ask(STAGE.get).result() == "gpu"


def test_an_error_is_raised_where_its_result_is_asked_for_and_ends_the_others() -> None:
    begun, go_on = threading.Event(), threading.Event()
    ended: list[str] = []

    def long() -> None:
        begun.set()
        go_on.wait(PATIENCE)
        ended.append("long")

    def wrong() -> None:
        begun.wait(PATIENCE)
        go_on.set()
        raise LabError("no such thing")

    def asked() -> None:
        with Together() as together:
            together.ask(long)
            together.ask(wrong).result()

    with pytest.raises(LabError, match="no such thing"):
        asked()
    assert ended == ["long"], "what had begun has come to its end"


def test_what_is_interrupted_does_not_wait() -> None:
    go_on = threading.Event()
    asked: list[Future[bool]] = []

    def interrupted() -> None:
        with Together() as together:
            asked.append(together.ask(go_on.wait, PATIENCE))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert not asked[0].done()
    go_on.set()
    assert asked[0].result()
