"""Joins the parts: the profile's schema, the way to its host, the stages, the plugin."""

from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from fixtures import lab
from fixtures.schema import Profile
from harness import budget, plugin
from harness.host import Host
from harness.profile import BaseProfile

pytest_plugins = [
    "harness.plugin",
    "fixtures.platform",
    "fixtures.rootfs",
    "fixtures.kata",
    "fixtures.image",
    "fixtures.gpu",
    "fixtures.network",
    "fixtures.container",
    "fixtures.model",
]


def pytest_configure(config: pytest.Config) -> None:
    """Tell the harness what a profile of ours looks like, and how to reach its host."""

    def connect(profile: BaseProfile, run_dir: Path) -> AbstractContextManager[Host]:
        assert isinstance(profile, Profile)
        return lab.connect(profile, run_dir, lambda text: plugin.required(config).say(text))

    plugin.configure(config, Profile, connect)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Give every acceptance test its time, stages included."""
    items = [item for item in session.items if item.get_closest_marker(plugin.MARK)]
    if items:
        profile = plugin.required(session.config).profile
        assert isinstance(profile, Profile)
        limits = profile.budget.model_dump()
        budget.apply(items, limits, limits.pop("test"))
