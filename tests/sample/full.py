"""A recovery whose record cannot be written any more: the disk is full."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager

from harness.host.host import Host, open_local
from harness.plugin.session import Session


def pytest_acceptance_leftovers(session: Session) -> Iterator[AbstractContextManager[Host]]:
    assert session.trace._file is not None
    os.dup2(os.open("/dev/full", os.O_WRONLY), session.trace._file)
    yield open_local(become=False)
