"""An alarm at the worst of times: whenever the hook that MINI_ALARM names is called."""

from __future__ import annotations

import os
import signal
from collections.abc import Generator

import pytest

HOOKS = [
    *("logstart", "report, outermost", "report, innermost", "logreport"),
    *("status", "interact", "logfinish"),
]


def _in(hook: str) -> None:
    """Ring, if a test's alarm is set."""
    if os.environ["MINI_ALARM"] == hook and callable(signal.getsignal(signal.SIGALRM)):
        print("the alarm rings")
        signal.raise_signal(signal.SIGALRM)


def pytest_runtest_logstart() -> None:
    _in("logstart")


def pytest_runtest_logreport() -> None:
    _in("logreport")


def pytest_report_teststatus() -> None:
    _in("status")


def pytest_exception_interact() -> None:
    _in("interact")


def pytest_runtest_logfinish() -> None:
    _in("logfinish")


@pytest.hookimpl(wrapper=True, tryfirst=True, specname="pytest_runtest_makereport")
def pytest_outermost() -> Generator[None, object, object]:
    _in("report, outermost")
    report = yield
    _in("report, outermost")
    return report


@pytest.hookimpl(wrapper=True, trylast=True, specname="pytest_runtest_makereport")
def pytest_innermost() -> Generator[None, object, object]:
    _in("report, innermost")
    report = yield
    _in("report, innermost")
    return report
