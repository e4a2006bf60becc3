"""Time limits: each stage has its own, whoever asks for it first, and each test has its."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.unit.mini import ROOT, sample

pytest_plugins = ["pytester"]


@pytest.fixture
def limits(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """What each fixture and test was given, in running order."""
    pytester.makepyfile(sample("suite_budget"))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))

    def run(*args: str, mark: str = "acceptance", pace: int = 1) -> list[str]:
        monkeypatch.setenv("MINI_MARK", mark)
        monkeypatch.setenv("MINI_PACE", str(pace))
        words = ["-q", "-s", "-p", "no:cacheprovider", "-p", "no:pytest11.testinfra"]
        words += ["-p", "tests.sample.budget", *args]
        result = pytester.runpytest_subprocess(*words)
        result.assert_outcomes(passed=2, skipped=1)
        return [line.partition(" ")[2] for line in result.outlines if line.endswith(" s")]

    return run


@pytest.mark.parametrize("method", ["signal", "thread"])
def test_a_stage_is_not_on_the_time_of_the_test_that_asks_first(
    limits: Callable[..., list[str]], method: str
) -> None:
    found = limits(f"--timeout-method={method}")
    assert found == ["host: 50000 s", "slow: 100000 s", "a: 10000 s", "free: 10000 s", "c: 10000 s"]


def test_on_a_slow_host_all_limits_are_later_from_when_it_is_known(
    limits: Callable[..., list[str]],
) -> None:
    found = limits(pace=3)
    assert found == ["host: 50000 s", "slow: 300000 s", "a: 30000 s", "free: 30000 s", "c: 30000 s"]


def test_what_is_no_acceptance_test_is_pytest_timeouts_alone(
    limits: Callable[..., list[str]],
) -> None:
    found = limits("--timeout=7000", mark="other", pace=3)
    assert {line.split()[1] for line in found} == {"7000"}
