"""Time limits: a test waits for the stages that it is the first to ask for."""

from __future__ import annotations

import pytest

from harness import budget

pytest_plugins = ["pytester"]

SUITE = """
import pytest

@pytest.fixture(scope="session")
def slow(): ...

@pytest.fixture(scope="session")
def slower(slow): ...

def test_a(slow): ...
def test_b(slower): ...
def test_c(slower): ...
"""


@pytest.fixture
def items(pytester: pytest.Pytester) -> list[pytest.Item]:
    """Three tests; the first two are each the first to need a stage."""
    return pytester.getitems(SUITE)


def limits(items: list[pytest.Item]) -> dict[str, float]:
    """Test name -> seconds."""
    found = {}
    for item in items:
        marker = item.get_closest_marker("timeout")
        assert marker is not None
        found[item.name] = marker.args[0]
    return found


def test_the_first_to_ask_pays_for_a_stage(items: list[pytest.Item]) -> None:
    budget.apply(items, {"slow": 100, "slower": 1000, "other": 5}, 10)
    assert limits(items) == {"test_a": 110, "test_b": 1010, "test_c": 10}


def test_a_test_alone_pays_for_all_that_it_needs(items: list[pytest.Item]) -> None:
    budget.apply(items[2:], {"slow": 100, "slower": 1000}, 10)
    assert limits(items[2:]) == {"test_c": 1110}
