"""A suite of a stage whose fixture does its work itself, without `Run.stage`."""

import pytest

from harness.errors import LabError
from harness.run.stage import stage
from tests.sample.stages import Made

pytestmark = pytest.mark.acceptance


@stage(budget=60)
def question(one: Made) -> str:
    """Asked of what the first stage has made."""
    raise LabError("Nobody answers.", hint="ask again")


def test_words(question: str) -> None:
    assert question


def test_sense(question: str) -> None:
    assert question
