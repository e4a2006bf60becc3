"""A conftest in the place of the project's own: this machine is the host, and need not be a lab's.

It is copied into a copy of the project.
"""

from __future__ import annotations

import pytest

from fixtures import stage_modules
from fixtures.profile import Profile

pytest_plugins = [
    "harness.plugin.plugin",
    "tests.sample.host",
    "fixtures.guide.plugin",
    *stage_modules(),
]


def pytest_acceptance_schema() -> type[Profile]:
    return Profile


@pytest.fixture(scope="session")
def platform() -> None:
    """Nothing is asked of this machine."""
