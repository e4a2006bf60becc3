"""One question to a running QEMU, over its monitor (QMP), without an event loop in sight."""

import asyncio
import contextlib
import os
from pathlib import Path
from typing import Any

from qemu.qmp import ExecuteError, QMPClient, QMPError

from vlab.errors import VlabError

SOCKET = "qmp"  # in the machine's folder, which is QEMU's working directory
DEADLINE = 5.0  # seconds; a QEMU that is well answers in milliseconds


class Silent(VlabError):
    """QEMU does not answer (yet, or any more)."""


def ask(folder: Path, command: str, **arguments: object) -> Any:
    """Send a command to the QEMU of this machine's folder; returns its answer.

    Raises Silent when it does not answer, VlabError when it refuses.
    """
    return asyncio.run(_ask(folder, command, arguments))


async def _ask(folder: Path, command: str, arguments: dict[str, object]) -> Any:
    client = QMPClient("vlab")
    client.logger.setLevel("CRITICAL")  # what goes wrong is raised, too
    try:
        # A socket's path may have 107 bytes, and a cache folder may lie deeper.
        held = os.open(folder, os.O_PATH)
    except OSError as error:
        raise Silent(f"the machine's folder is gone: {error}") from error
    try:
        async with asyncio.timeout(DEADLINE):
            await client.connect(f"/proc/self/fd/{held}/{SOCKET}")
            try:
                return await client.execute(command, arguments)
            finally:
                with contextlib.suppress(QMPError, OSError, EOFError):
                    await client.disconnect()
    except (QMPError, OSError, EOFError, TimeoutError) as error:
        kind = VlabError if isinstance(error, ExecuteError) else Silent
        raise kind(f"QEMU did not carry out '{command}': {error}") from error
    finally:
        os.close(held)
