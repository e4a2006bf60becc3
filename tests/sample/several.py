"""A lab of several hosts; MINI_SEVERAL says what is wrong with it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager

from harness.host.host import Host, SshEndpoint, open_local, open_ssh

ABSENT, INTERRUPTED = "the first is absent", "Ctrl-C after the first"


def pytest_acceptance_leftovers() -> Iterator[AbstractContextManager[Host]]:
    wrong = os.environ["MINI_SEVERAL"]
    if wrong == ABSENT:
        yield open_ssh(SshEndpoint("root", "127.0.0.1", 1))  # nobody listens on port 1
    yield open_local(become=False)
    if wrong == INTERRUPTED:
        raise KeyboardInterrupt
