"""testinfra over a host of ours. It ignores timeouts and keeps no record; our door does both."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from testinfra.backend import base

from harness.host.command import Result, decode, encode


class Backend(base.BaseBackend):  # type: ignore[misc]  # testinfra has no types
    """testinfra's way to the host: the same door, so that deadlines and the record hold."""

    NAME = "harness"

    def __init__(self, name: str, run: Callable[..., Result]) -> None:
        super().__init__(name)
        self._run = run
        self._encoding = "utf-8"

    def run(self, command: str, *args: str, **kwargs: Any) -> base.CommandResult:
        """Run a shell command line of testinfra's, whatever its exit status."""
        text = self.get_command(command, *args)
        result = self._run(
            "sh", "-c", text, timeout=float(kwargs.get("timeout", 60)), ok=range(256)
        )
        out, err = encode(result.out), encode(result.err)
        return self.result(result.rc, encode(text), out, err)

    def decode(self, data: bytes) -> str:
        """Bytes of a stream as our own results have them; testinfra would ask for the locale."""
        return decode(data)
