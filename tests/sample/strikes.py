"""A run that something ends midway, in the hook that MINI_STRIKES names."""

from __future__ import annotations

import os
from collections.abc import Generator

import pytest


def _strike(hook: str, error: BaseException) -> None:
    if os.environ["MINI_STRIKES"] == hook:
        raise error


def pytest_runtest_logfinish() -> None:
    _strike("an internal error", ValueError())
    _strike("pytest.exit", pytest.exit.Exception("enough", returncode=0))


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_sessionfinish() -> Generator[None, object, object]:
    _strike("pytest_sessionfinish", KeyboardInterrupt())
    return (yield)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_terminal_summary() -> Generator[None, object, object]:
    _strike("pytest_terminal_summary", KeyboardInterrupt())
    return (yield)
