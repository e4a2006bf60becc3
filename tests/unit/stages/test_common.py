"""What several stages share: likely causes, findings, and a download that is told of."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from fixtures.common import diagnostics
from fixtures.common.findings import FACT, Finding, report, reported
from harness.errors import LabError
from harness.host.command import CommandFailed, CommandTimeout
from harness.run.assets import progress_printer
from tests.unit.replay import Reply, Words
from tests.unit.stages.lab import Lab

HINTS = (("disk full", "free some room"), ("full", "never: the first that fits is taken"))
LOW = Finding("a.low", "low", "it is so", "gpu.bind")
ELSEWHERE = Finding("a.guides", "high", "the guide has it", "image.security", here=False)


@pytest.mark.parametrize(
    ("says", "hint"), [("disk full", "free some room"), ("something else", "look there")]
)
def test_a_failed_command_gets_the_first_hint_that_fits(lab: Lab, says: str, hint: str) -> None:
    lab.host.reply("cp", status=1, err=says)
    with (
        pytest.raises(CommandFailed) as caught,
        diagnostics.with_hint("gpu.bind", "look there", HINTS),
    ):
        lab.host.run("cp", "a", "b")
    assert (caught.value.clause, caught.value.hint) == ("gpu.bind", hint)


def test_a_commands_own_words_are_no_cause(lab: Lab) -> None:
    lab.host.reply("cp", status=1, err="something else")
    with pytest.raises(CommandFailed) as caught, diagnostics.with_hint("gpu.bind", "look", HINTS):
        lab.host.run("cp", "disk full", "b")
    assert caught.value.hint == "look"


def test_a_cause_far_above_the_end_of_what_was_said_is_found(lab: Lab) -> None:
    lab.host.reply("cp", status=1, out="disk full\n" + "and so on\n" * 1000)
    with pytest.raises(CommandFailed) as caught, diagnostics.with_hint("gpu.bind", "look", HINTS):
        lab.host.run("cp", "a", "b")
    assert caught.value.hint == "free some room"


def test_a_command_that_was_stopped_has_no_likely_cause(lab: Lab) -> None:
    def late(words: Words) -> Reply:
        raise CommandTimeout("it still ran after 60 s")

    lab.host.reply("cp", by=late)
    with pytest.raises(CommandTimeout) as caught, diagnostics.with_hint("gpu.bind", "look", HINTS):
        lab.host.run("cp", "disk full", "b")
    assert (caught.value.clause, caught.value.hint) == ("gpu.bind", None)


def test_a_failure_keeps_a_hint_of_its_own_where_none_fits() -> None:
    with pytest.raises(CommandFailed) as caught, diagnostics.with_hint("gpu.bind", "look", HINTS):
        raise CommandFailed("the job was killed", hint="out of memory?")
    assert (caught.value.clause, caught.value.hint) == ("gpu.bind", "out of memory?")


def test_an_error_with_a_cause_of_its_own_keeps_it() -> None:
    with pytest.raises(LabError) as caught, diagnostics.with_hint("gpu.bind", "look there"):
        raise LabError("no", hint="its own", clause="gpu.safe")
    assert (caught.value.clause, caught.value.hint) == ("gpu.safe", "its own")


def test_findings_are_kept_once_and_told_where_they_hold_here(lab: Lab) -> None:
    report(lab.run, LOW)
    report(lab.run, LOW, ELSEWHERE)
    assert reported(lab.run) == (LOW, ELSEWHERE)
    assert lab.said == ["finding (low): it is so"] * 2
    last = [event for event in lab.events("fact") if event["name"] == FACT][-1]
    assert [finding["id"] for finding in last["value"]] == ["a.low", "a.guides"]


def test_nothing_found_is_no_fact(lab: Lab) -> None:
    report(lab.run)
    assert not lab.events("fact")


def clock(*times: float) -> Iterator[float]:
    """What a clock says, one after the other."""
    yield from times


def test_a_download_that_takes_long_is_told_of_now_and_then() -> None:
    lines: list[str] = []
    ticks = clock(0, 1, 6, 6, 7, 12, 12)
    progress = progress_printer(lines.append, "image.tar", lambda: next(ticks))
    for done in (1_000_000, 5_000_000, 6_000_000):
        progress(done, 9_000_000)
    progress(9_000_000, None)
    assert lines == ["image.tar: 5 of 9 MB", "image.tar: 9 MB"]
