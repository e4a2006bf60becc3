"""The suite of the three stages."""

import pytest

from tests.sample.stages import Made

pytestmark = pytest.mark.acceptance


@pytest.mark.clause("a.one")
def test_one(one: Made) -> None:
    assert one.exists()


@pytest.mark.timeout(1000)
def test_two(two: Made) -> None:
    assert two.exists()


def test_two_again(two: Made) -> None:
    assert two.exists()


def test_three(three: Made) -> None:
    assert three.exists()


def test_free(one: Made) -> None:
    assert one.exists()
