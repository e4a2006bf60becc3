"""What the way to a host has to give, and the shortest of them: this machine."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from typing import Protocol

from harness.command import Result


class Transport(Protocol):
    """Turns an argv for the host into one for this machine."""

    name: str
    become: bool  # whether commands go through sudo -n

    @property
    def login(self) -> str:
        """How a person gets there: a line for the shell, or 'this machine'."""

    def argv(
        self, argv: Sequence[str], *, mark: tuple[str, str] | None = None, sweep: Sequence[str] = ()
    ) -> list[str]:
        """The argv that runs `argv` on the host, as root where `become` says so.

        `mark` is a variable (name, value) in the environment of all that it starts; `sweep` is
        a command that may end there what a deadline left.
        """

    def lost(self, result: Result) -> str | None:
        """Why this result is the connection's and not the command's; None when it is not."""

    def reconnect(self) -> None:
        """Make the connection anew; HostUnreachable when that fails."""

    def forward(
        self, address: str, port: int
    ) -> contextlib.AbstractContextManager[tuple[str, int]]:
        """Reach address:port, as the host sees it, at the (address, port) that this gives."""

    def close(self) -> None:
        """End the connection."""


# sudo gives neither the user's PATH on (secure_path), by which tools of the host are found, nor the
# address that he comes from (env_reset).
KEPT = ("PATH", "SSH_CONNECTION")


def marked(mark: tuple[str, str] | None) -> list[str]:
    """The word NAME=VALUE for env(1), or none."""
    return ["=".join(mark)] if mark else []


class LocalTransport:
    """This machine."""

    def __init__(self, *, become: bool = False) -> None:
        self.name = "local"
        self.become = become
        self.login = "this machine"

    def argv(
        self, argv: Sequence[str], *, mark: tuple[str, str] | None = None, sweep: Sequence[str] = ()
    ) -> list[str]:
        sudo: list[str] = []
        if self.become:
            kept = (f"{name}={os.environ.get(name, '')}" for name in KEPT)
            sudo = ["sudo", "-n", "--", "env", *kept]
        env = ["env", *marked(mark)] if mark and not sudo else marked(mark)
        return [*sudo, *env, *argv]

    def lost(self, result: Result) -> str | None:
        return None

    def reconnect(self) -> None:
        return None

    @contextlib.contextmanager
    def forward(self, address: str, port: int) -> Iterator[tuple[str, int]]:
        yield address, port

    def close(self) -> None:
        return None
