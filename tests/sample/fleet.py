"""A fleet's labs: a folder each for a host; MINI_TWO_<lab> is what the second stage does there."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from harness.host.host import Host, open_local
from harness.plugin.fleet import given_to


def pytest_configure(config: pytest.Config) -> None:
    if lab := given_to(config).get("lab"):
        state = Path(os.environ["MINI_STATE"])
        os.environ["MINI_STATE"] = str(state.parent / lab / state.name)
        (state.parent / lab).mkdir(exist_ok=True)
        os.environ["MINI_TWO"] = os.environ.get(f"MINI_TWO_{lab}", "nothing")


@pytest.hookimpl(tryfirst=True)
def pytest_acceptance_connect() -> AbstractContextManager[Host]:
    return open_local(become=False)
