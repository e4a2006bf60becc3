"""Time limits: each stage has its own, whoever asks for it first, and each test has its."""

from __future__ import annotations

import pytest

from tests.unit.mini import ROOT

pytest_plugins = ["pytester"]

CONFTEST = """
import signal
from types import SimpleNamespace

import pytest

from harness.plugin.budget import Budget

budget = {"host": 50_000, "slow": 100_000, "test": 10_000}
session = SimpleNamespace(profile=SimpleNamespace(budget=budget), host=None)

def pytest_configure(config):
    config.pluginmanager.register(Budget(session, "acceptance"))

@pytest.fixture(scope="session")
def tell():
    # Round enough for a test that takes minutes.
    return lambda who: print(f" {who}: {round(signal.getitimer(signal.ITIMER_REAL)[0], -3):.0f} s")
"""
SUITE = """
from types import SimpleNamespace

import conftest
import pytest

pytestmark = pytest.mark.acceptance

@pytest.fixture(scope="session")
def host(tell):
    tell("host")
    conftest.session.host = SimpleNamespace(pace=PACE)

@pytest.fixture(scope="session")
def slow(host, tell):
    tell("slow")

@pytest.fixture(scope="session")
def free(slow, tell):
    tell("free")

def test_a(slow, tell):
    tell("a")

@pytest.mark.skip(reason="why")
def test_b(slow, tell): ...

def test_c(free, tell):
    tell("c")
"""


@pytest.fixture(autouse=True)
def path(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a run of pytest's own finds the harness."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))


def limits(pytester: pytest.Pytester, suite: str, *args: str) -> list[str]:
    """What each fixture and test was given, in running order."""
    pytester.makeconftest(CONFTEST)
    pytester.makepyfile(suite)
    result = pytester.runpytest_subprocess("-q", "-s", "-p", "no:cacheprovider", *args)
    result.assert_outcomes(passed=2, skipped=1)
    return [line.partition(" ")[2] for line in result.outlines if line.endswith(" s")]


@pytest.mark.parametrize("method", ["signal", "thread"])
def test_a_stage_is_not_on_the_time_of_the_test_that_asks_first(
    pytester: pytest.Pytester, method: str
) -> None:
    found = limits(pytester, SUITE.replace("PACE", "1"), f"--timeout-method={method}")
    assert found == ["host: 50000 s", "slow: 100000 s", "a: 10000 s", "free: 10000 s", "c: 10000 s"]


def test_on_a_slow_host_all_limits_are_later_from_when_it_is_known(
    pytester: pytest.Pytester,
) -> None:
    found = limits(pytester, SUITE.replace("PACE", "3"))
    assert found == ["host: 50000 s", "slow: 300000 s", "a: 30000 s", "free: 30000 s", "c: 30000 s"]


def test_what_is_no_acceptance_test_is_pytest_timeouts_alone(pytester: pytest.Pytester) -> None:
    suite = SUITE.replace("pytestmark", "mark").replace("PACE", "3")
    assert {line.split()[1] for line in limits(pytester, suite, "--timeout=7000")} == {"7000"}
