"""testinfra's `host` over a lab host: its modules and words, our transport, deadlines and record.

testinfra's own backends have neither a deadline nor a record, and its `get_host` keeps hosts for
as long as the process lives; so it is not used. Each `Host` that is made here is one of its own.
"""

from __future__ import annotations

from collections.abc import Mapping

import testinfra.host
from testinfra.backend import base

from harness.errors import LabError
from harness.host.command import Result, decode, encode
from harness.host.host import Host

TIMEOUT = 60.0  # seconds for a command, where neither the profile nor the call says otherwise


def suite_host(lab_host: Host, timeout: float = TIMEOUT) -> testinfra.host.Host:
    """A `testinfra.host.Host` whose commands go through `lab_host`, each within `timeout` seconds.

    A call may have a limit of its own: ``host.run("...", timeout=300)``. Raises what
    `Host.ask` raises: an exit status is testinfra's `rc`, also where a program is missing.
    """
    backend = Backend(lab_host, timeout)
    host = testinfra.host.Host(backend)
    backend.set_host(host)
    return host


class Backend(base.BaseBackend):  # type: ignore[misc]  # testinfra has no types
    """testinfra's way to a lab host. The lab host's own transport becomes root where it has to."""

    NAME = "harness"

    def __init__(self, lab_host: Host, timeout: float) -> None:
        super().__init__(lab_host.name)
        self._lab_host = lab_host
        self._timeout = timeout
        self._encoding = "utf-8"

    def run(
        self,
        command: str,
        *args: str,
        timeout: float | None = None,
        env: Mapping[str, str] | None = None,
    ) -> base.CommandResult:
        """Run one shell line, in which each %s stands for one of `args`, quoted.

        As a suite changes nothing, the line is carried out once more where the connection was lost
        meanwhile. Raises LabError for more output than is kept: its end is not all of it.
        """
        line = self.get_command(command, *args)
        seconds = self._timeout if timeout is None else timeout
        result = self._lab_host.ask("sh", "-c", line, timeout=seconds, env=env)
        out, err = encode(result.out), encode(result.err)
        _require_all(result, len(out), len(err))
        return self.result(result.rc, encode(line), out, err)

    def decode(self, data: bytes) -> str:
        """Bytes of a stream as our own results have them; testinfra would ask for the locale."""
        return decode(data)

    def encode(self, data: str) -> bytes:
        """The reverse of `decode`."""
        return encode(data)


def _require_all(result: Result, out: int, err: int) -> None:
    streams = (("stdout", out, result.out_bytes), ("stderr", err, result.err_bytes))
    for stream, kept, whole in streams:
        if kept != whole:
            raise LabError(
                f"Command '{result.line}' printed {whole} bytes to {stream}, of which the last"
                f" {kept} are kept.",
                hint="have it print less: filter it on the host (grep, tail), or ask for one thing",
            )
