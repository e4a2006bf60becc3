"""Joins the parts: the profile's schema, the way to its host, the stages, the plugin."""

import gc
from collections.abc import Iterable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from fixtures import clauses, lab
from fixtures.schema import Profile
from harness import plugin
from harness.host import Host
from harness.profile import BaseProfile

pytest_plugins = [
    "harness.plugin",
    "fixtures.guide",
    "reports.plugin",
    "fixtures.platform",
    "fixtures.rootfs",
    "fixtures.kata",
    "fixtures.image",
    "fixtures.gpu",
    "fixtures.network",
    "fixtures.container",
    "fixtures.model",
]


def pytest_addoption(parser: pytest.Parser) -> None:
    """The virtual lab's own option."""
    lab.add_option(parser)


def pytest_configure(config: pytest.Config) -> None:
    """Tell the harness what a profile of ours looks like, and how to reach its host."""

    def connect(profile: BaseProfile, run_dir: Path) -> AbstractContextManager[Host]:
        assert isinstance(profile, Profile)
        return lab.connect(profile, run_dir, plugin.required(config))

    def leftovers(profile: BaseProfile, run_dir: Path) -> Iterable[AbstractContextManager[Host]]:
        assert isinstance(profile, Profile)
        return lab.leftovers(profile, run_dir, plugin.required(config))

    def facts() -> dict[str, object]:
        return {"guide": clauses.as_fact()}

    plugin.configure(config, Profile, connect, leftovers=leftovers, facts=facts)
    gc.freeze()  # what has been imported stays: looking for garbage in it takes 0.1 s of each start
