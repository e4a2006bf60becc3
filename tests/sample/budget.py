"""Fixtures and tests that tell how much time they have; MINI_PACE is that of the host."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from harness.plugin.budget import Budget

_BUDGET = {"host": 50_000, "slow": 100_000, "test": 10_000}
_SESSION: Any = SimpleNamespace(profile=SimpleNamespace(budget=_BUDGET), host=None)

Tell = Callable[[str], None]


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(Budget(_SESSION, "acceptance"))


@pytest.fixture(scope="session")
def tell() -> Tell:
    # Round enough for a test that takes minutes.
    return lambda who: print(f" {who}: {round(signal.getitimer(signal.ITIMER_REAL)[0], -3):.0f} s")


@pytest.fixture(scope="session")
def host(tell: Tell) -> None:
    tell("host")
    _SESSION.host = SimpleNamespace(pace=float(os.environ["MINI_PACE"]))


@pytest.fixture(scope="session")
def slow(host: None, tell: Tell) -> None:
    tell("slow")


@pytest.fixture(scope="session")
def free(slow: None, tell: Tell) -> None:
    tell("free")
