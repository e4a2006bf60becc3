"""The load of runner and lab host, for messages about time limits."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from harness.errors import LabError, TimeIsUp
from harness.host.command import CommandTimeout
from harness.host.host import BOOT_ID, Host
from harness.plugin.budget import COMMAND
from harness.run.clock import Limit
from harness.run.stage import StageFailed
from harness.wait import WaitTimeout

ASK = 10.0  # seconds for a host to say its load; one that takes longer is busy enough


def limit_details(
    error: BaseException | None, host: Host | None, limits: Mapping[str, Limit]
) -> list[str]:
    """Lines that tell more of a time limit that was reached; none for any other failure.

    `limits` are those of the profile's [budget]: a stage's own commands may go by it, too.
    """
    cause = error.cause if isinstance(error, StageFailed) else error
    if not isinstance(cause, TimeIsUp | CommandTimeout | WaitTimeout):
        return []
    lines = []
    if isinstance(error, StageFailed) and error.name in limits and not isinstance(cause, TimeIsUp):
        seconds = limits[error.name].seconds
        lines.append(f"budget of the stage: {error.name} = {seconds:g} in [budget] of the profile")
    elif isinstance(error, CommandTimeout) and COMMAND in limits:
        seconds = limits[COMMAND].seconds
        lines.append(f"budget of a test's command: {COMMAND} = {seconds:g} in [budget]")
    return [*lines, load_line(host)]


def load_line(host: Host | None) -> str:
    """A line: load and cores of this machine and, where it is another that answers, of the host."""
    here = f"{os.getloadavg()[0]:.1f} on the {len(os.sched_getaffinity(0))} cores of this machine"
    if host is None or host.boot_id == Path(BOOT_ID).read_text().strip():
        return f"load: {here}"
    return f"load: {here}, {_load_of(host)}"


def _load_of(host: Host) -> str:
    try:
        said = host.sh("cut -d ' ' -f 1 /proc/loadavg; nproc", timeout=ASK).out.split()
    except LabError as error:
        return f"that of host '{host.name}' is not known: {error.message.splitlines()[0]}"
    return f"{said[0]} on the {said[1]} of host '{host.name}'"
