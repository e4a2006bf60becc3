"""Names the parts: the plugin, the way to a profile's host, the guide, the reports, the stages."""

import gc

pytest_plugins = [
    "harness.plugin.plugin",
    "fixtures.lab",
    "fixtures.guide.plugin",
    "reports.plugin",
    "fixtures.platform.stage",
    "fixtures.rootfs.stage",
    "fixtures.kata.stage",
    "fixtures.image.stage",
    "fixtures.gpu.stage",
    "fixtures.network.stage",
    "fixtures.container.stage",
    "fixtures.model.stage",
]


def pytest_configure() -> None:
    """What has been imported stays: looking for garbage in it takes 0.1 s of each start."""
    gc.freeze()
