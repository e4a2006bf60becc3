"""Time limits: a test waits for the stages that are not there yet when its turn comes."""

from __future__ import annotations

import pytest

pytest_plugins = ["pytester"]

CONFTEST = """
from types import SimpleNamespace

from harness.plugin.budget import Budget

def pytest_configure(config):
    profile = SimpleNamespace(budget={"slow": 100, "slower": 1000, "other": 5, "test": 10})
    config.pluginmanager.register(Budget(SimpleNamespace(profile=profile), "acceptance"))

def pytest_timeout_set_timer(item, settings):  # what pytest-timeout goes by
    print(f"{item.name}: {settings.timeout:g} s")
"""
SUITE = """
import pytest

pytestmark = pytest.mark.acceptance

@pytest.fixture(scope="session")
def slow(): ...

@pytest.fixture(scope="session")
def slower(slow): ...

def test_a(slow): ...
def test_b(slower): ...
def test_c(slower): ...
"""


def limits(pytester: pytest.Pytester, suite: str) -> list[str]:
    """What each test of a suite was given, in running order."""
    pytester.makeconftest(CONFTEST)
    pytester.makepyfile(suite)
    result = pytester.runpytest_inprocess("-q", "-s", "-p", "no:cacheprovider", "-p", "no:order")
    result.assert_outcomes(passed=3 - suite.count(".skip("), skipped=suite.count(".skip("))
    return [line.strip(".s ") for line in result.outlines if line.endswith(" s")]


def test_the_first_to_ask_waits_for_a_stage(pytester: pytest.Pytester) -> None:
    assert limits(pytester, SUITE) == ["test_a: 110", "test_b: 1010", "test_c: 10"]


def test_a_skipped_test_has_not_waited(pytester: pytest.Pytester) -> None:
    suite = SUITE.replace("def test_b", "@pytest.mark.skip(reason='why')\ndef test_b")
    assert limits(pytester, suite) == ["test_a: 110", "test_b: 1010", "test_c: 1010"]
