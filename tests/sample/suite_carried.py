"""What was brought is there, and no network."""

import hashlib
import socket
import urllib.parse
from pathlib import Path

import pytest

from tests.sample.carried import Profile

pytestmark = pytest.mark.acceptance


def test_there_is_no_network(profile: Profile) -> None:
    assert profile.parts.tool is not None
    url = urllib.parse.urlsplit(profile.parts.tool.source)
    with pytest.raises(OSError, match="unreachable"):
        socket.create_connection((url.hostname or "", url.port or 80))


def test_what_was_brought_is_what_was_pinned(brought: str, profile: Profile) -> None:
    for name, file in profile.parts:
        assert hashlib.sha256((Path(brought) / name).read_bytes()).hexdigest() == file.sha256
