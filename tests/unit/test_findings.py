"""Each finding of the review of security has a test that shows the attack to fail."""

from __future__ import annotations

from tests import findings

JOURNALS = 16  # F16 is held by the tests of the journal


def test_the_page_is_what_the_marks_say() -> None:
    assert findings.PAGE.read_text("utf-8") == findings.page(), "python -m tests.findings"


def test_every_finding_is_held() -> None:
    assert {number for number, *_ in findings.findings()} | {JOURNALS} == {*range(1, 21)}


def test_every_attack_is_said_once() -> None:
    said = [(number, attack) for number, attack, _ in findings.findings()]
    assert len({*said}) == len(said)
