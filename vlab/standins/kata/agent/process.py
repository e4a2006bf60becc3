"""Becoming a container's process: identity, limits, streams, exec. Runs in the forked child."""

import fcntl
import os
import resource
import socket
import termios
from typing import Any, NoReturn

from . import syscalls

# Bytes that the child sends to the session while it gets ready.
_STREAMS = (0, 1, 2)


class StartError(Exception):
    """The process cannot be started; the text goes to whoever asked for it."""


def find_executable(argv: list[str], env: list[str]) -> str:
    """Where execvp would find the program, as seen from the present root.

    Raises StartError in kata's words if it is not there.
    """
    name = argv[0]
    if "/" in name:
        places = [name]
    else:
        path = next((word[5:] for word in env if word.startswith("PATH=")), "/usr/bin:/bin")
        places = [f"{folder or '.'}/{name}" for folder in path.split(":")]
    for place in places:
        if os.path.isfile(place) and os.access(place, os.X_OK):
            return place
    raise StartError(f"the file {name} was not found")


def open_terminal(session: socket.socket, size: dict[str, int] | None) -> int:
    """A pseudo-terminal of the container's own devpts: the master goes to the session.

    Returns the slave, which becomes the controlling terminal.
    """
    master, slave = os.openpty()
    if size:
        set_size(slave, size["height"], size["width"])
    socket.send_fds(session, [b"t"], [master])
    os.close(master)
    return slave


def set_size(terminal: int, rows: int, columns: int) -> None:
    """Tell a terminal its size."""
    termios.tcsetwinsize(terminal, (rows, columns))


def become(process: dict[str, Any], program: str, streams: tuple[int, int, int]) -> NoReturn:
    """Replace this process by the workload. Returns never; raises OSError or StartError."""
    os.setsid()
    for wanted, have in zip(_STREAMS, streams, strict=True):
        os.dup2(have, wanted)
    if process.get("terminal"):
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    for limit in process.get("rlimits") or []:
        number = getattr(resource, limit["type"])
        resource.setrlimit(number, (limit["soft"], limit["hard"]))
    user = process.get("user", {})
    _enter(process.get("cwd", "/"))
    _take_identity(user, process.get("capabilities"))
    if process.get("noNewPrivileges"):
        syscalls.no_new_privileges()
    os.umask(user.get("umask", 0o022))
    env = dict(word.split("=", 1) for word in process.get("env", []) if "=" in word)
    env.setdefault("HOME", "/root" if not user.get("uid") else "/")
    os.execve(program, process["args"], env)


def _enter(folder: str) -> None:
    try:
        os.chdir(folder)
    except FileNotFoundError:
        os.makedirs(folder)  # as runc does
        os.chdir(folder)


def _take_identity(user: dict[str, Any], capabilities: dict[str, list[str]] | None) -> None:
    masks = {
        name: syscalls.capability_mask((capabilities or {}).get(name) or [])
        for name in ("bounding", "effective", "permitted", "inheritable")
    }
    if capabilities is not None:
        syscalls.limit_bounding(masks["bounding"])
    os.setgroups(user.get("additionalGids") or [])
    os.setgid(user.get("gid", 0))
    os.setuid(user.get("uid", 0))
    # For another user than root the kernel has dropped them all at setuid.
    if capabilities is not None and not user.get("uid"):
        syscalls.set_capabilities(masks["effective"], masks["permitted"], masks["inheritable"])
