"""A mini project's way to its host: this machine, with or without ssh."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager

from harness.host.host import Host, open_local, open_ssh
from harness.profile.schema import BaseProfile


def pytest_acceptance_connect(profile: BaseProfile) -> AbstractContextManager[Host]:
    if profile.target.kind == "ssh":
        return open_ssh(profile.target.endpoint(), become=False)
    return open_local(become=False)


def pytest_acceptance_state_dir() -> str:
    return os.environ["MINI_STATE"]
