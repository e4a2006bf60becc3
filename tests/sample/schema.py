"""A mini project's answer to what its profiles are."""

from __future__ import annotations

from harness.profile.schema import BaseProfile


def pytest_acceptance_schema() -> type[BaseProfile]:
    return BaseProfile
