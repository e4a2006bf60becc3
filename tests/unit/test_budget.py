"""Time limits: each stage has its own, whoever asks for it first, and each test has its."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.unit.mini import pytest_in, sample


@pytest.fixture
def limits(tmp_path: Path) -> Callable[..., list[str]]:
    """What each fixture and test was given, in running order."""
    (tmp_path / "test_it.py").write_text(sample("suite_budget"))

    def run(*args: str, mark: str = "acceptance", pace: int = 1) -> list[str]:
        environ = {"MINI_MARK": mark, "MINI_PACE": str(pace)}
        words = ["-q", "-s", "-p", "tests.sample.budget", *args]
        status, out = pytest_in(tmp_path, *words, environ=environ)
        assert status == 0, out
        assert "2 passed, 1 skipped" in out
        return [line.partition(" ")[2] for line in out.splitlines() if line.endswith(" s")]

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
