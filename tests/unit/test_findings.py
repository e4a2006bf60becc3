"""Each finding of the reviews of security and of crashes has a test that shows it to do no harm."""

from __future__ import annotations

from tests import findings

CRASHES = {*range(1, 16)} - {7}  # C7 is of a container that is being started: the kill sweep's


def test_the_page_is_what_the_marks_say() -> None:
    assert findings.PAGE.read_text("utf-8") == findings.page(), "python -m tests.findings"


def test_every_finding_is_held() -> None:
    held = {(letter, number) for letter, number, *_ in findings.findings()}
    assert {number for letter, number in held if letter == "F"} == {*range(1, 21)}
    assert {number for letter, number in held if letter == "C"} == CRASHES


def test_every_attack_is_said_once() -> None:
    said = [(letter, number, attack) for letter, number, attack, _ in findings.findings()]
    assert len({*said}) == len(said)
