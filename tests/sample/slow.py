"""A host that is slow."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from harness.host.host import Host, open_local

PACE = 2.5


@contextmanager
def pytest_acceptance_connect() -> Iterator[Host]:
    with open_local(become=False) as host:
        host.pace = PACE
        yield host
