"""The suite of the stage that is begun early; copied as a test module of the run's folder."""

import pytest

pytestmark = pytest.mark.acceptance


@pytest.mark.parametrize("number", [1, 2])
def test_base(base: str, number: int) -> None:
    assert base


def test_other(other: str) -> None:
    assert other


def test_long(long: str) -> None:
    assert long


def test_long_again(long: str) -> None:
    assert long
