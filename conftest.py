"""Names the parts: the plugin, the way to a profile's host, the guide, the reports, the stages."""

import gc

import pytest

from fixtures import stage_modules

STAGES = stage_modules()
pytest.register_assert_rewrite(*STAGES)  # all, before one of them imports another
pytest_plugins = [
    "harness.plugin.plugin",
    "fixtures.fingerprint.plugin",
    "fixtures.lab",
    "fixtures.guide.plugin",
    "fixtures.guest.access",
    "fixtures.container.ways_in",
    "fixtures.platform.host_log",
    "fixtures.soak.plugin",
    "reports.plugin",
    "suites.checklist",
    *STAGES,
]


def pytest_configure() -> None:
    """What has been imported stays: looking for garbage in it takes 0.1 s of each start."""
    gc.freeze()
