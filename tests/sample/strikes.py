"""A run that something ends midway, in the hook that MINI_STRIKES names.

After Ctrl-C there is a second one, in the very hook that is told of the first.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Generator

import pytest


def _strike(hook: str, error: BaseException) -> None:
    if os.environ["MINI_STRIKES"] == hook:
        raise error


def pytest_keyboard_interrupt() -> None:
    if os.environ["MINI_STRIKES"] == "pytest_keyboard_interrupt":
        signal.raise_signal(signal.SIGINT)


def pytest_runtest_logfinish() -> None:
    _strike("an internal error", ValueError())
    _strike("pytest.exit", pytest.exit.Exception("enough", returncode=0))


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_sessionfinish() -> Generator[None, object, object]:
    _strike("pytest_sessionfinish", KeyboardInterrupt())
    return (yield)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_terminal_summary() -> Generator[None, object, object]:
    if os.environ["MINI_STRIKES"] == "signal at the end":
        signal.raise_signal(signal.SIGINT)
    _strike("pytest_terminal_summary", KeyboardInterrupt())
    return (yield)
