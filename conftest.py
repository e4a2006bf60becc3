"""Joins the parts: the profile's schema, the way to its host, the stages, the plugin."""

import gc
from collections.abc import Iterable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from fixtures import lab, stage_modules
from fixtures.guide import clauses
from fixtures.profile import Profile
from harness.host.host import Host
from harness.plugin import plugin

STAGES = stage_modules()
pytest.register_assert_rewrite(*STAGES)  # all, before one of them imports another
pytest_plugins = [
    "harness.plugin.plugin",
    "fixtures.guide.plugin",
    "reports.plugin",
    *STAGES,
]


def pytest_addoption(parser: pytest.Parser) -> None:
    """The virtual lab's own option."""
    lab.add_option(parser)


def pytest_configure(config: pytest.Config) -> None:
    """Tell the harness what a profile of ours looks like, and how to reach its host."""

    def connect(profile: Profile, run_dir: Path) -> AbstractContextManager[Host]:
        return lab.connect(profile, run_dir, plugin.required(config))

    def leftovers(profile: Profile, run_dir: Path) -> Iterable[AbstractContextManager[Host]]:
        return lab.leftovers(profile, run_dir, plugin.required(config))

    def facts() -> dict[str, object]:
        return {"guide": clauses.as_fact()}

    plugin.configure(config, Profile, connect, leftovers=leftovers, facts=facts)
    gc.freeze()  # what has been imported stays: looking for garbage in it takes 0.1 s of each start
