"""A test of each kind of end that there is."""

import pytest

from harness.outcome import not_assessed
from tests.sample.stages import Made

pytestmark = pytest.mark.acceptance


def test_one(one: Made) -> None: ...


@pytest.mark.xfail(reason="known")
def test_known(one: Made) -> None:
    assert not one


@pytest.mark.xfail(reason="thought so", strict=False)
def test_better(one: Made) -> None: ...


@pytest.mark.skipif(True, reason="by hand")
def test_by_hand(one: Made) -> None: ...


def test_here(one: Made) -> None:
    not_assessed("no such silicon")


def test_two(two: Made) -> None: ...


def test_two_again(two: Made) -> None: ...
