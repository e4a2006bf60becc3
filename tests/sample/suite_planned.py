"""The suite of the stages that say what they would do."""

import pytest

from tests.sample.stages import Made

pytestmark = pytest.mark.acceptance


def test_looks(looks: Made) -> None:
    assert looks.exists()


def test_lower(lower: Made) -> None:
    assert lower.exists()
