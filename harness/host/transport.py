"""The interface of a transport to a host, and the one for this machine."""

from __future__ import annotations

import contextlib
import os
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from harness.errors import BadUsage
from harness.host.command import Result


@dataclass(frozen=True)
class SshEndpoint:
    """Where and how to log in: everything that ssh needs, already resolved."""

    user: str
    host: str
    port: int = 22
    identity: Path | None = None  # private key; None: what the user's ssh would offer
    known_hosts: Path | None = None  # None: the user's own file

    @property
    def options(self) -> list[str]:
        """The endpoint as ssh options ("Name=value")."""
        options = []
        if self.identity is not None:
            options += [path_option("IdentityFile", self.identity), "IdentitiesOnly=yes"]
        if self.known_hosts is not None:
            options.append(path_option("UserKnownHostsFile", self.known_hosts))
        return options

    @property
    def target(self) -> list[str]:
        """The words that end an ssh command line, but for the remote command."""
        return ["-p", str(self.port), "-l", self.user, "--", self.host]

    def login(self, options: Sequence[str] = ()) -> str:
        """The line for a shell by which a person logs in."""
        words = with_options(dict.fromkeys([*self.options, *options]))
        return shlex.join(["ssh", *words, *self.target])


def path_option(name: str, path: Path) -> str:
    """A path as an ssh option, which is that very path (ssh_config(5): quotes, TOKENS).

    Raises BadUsage for one with '${', which ssh would take for a variable and has no escape for.
    """
    text = str(path)
    if "${" in text:
        raise BadUsage(f"ssh cannot be told of a path with '${{' in it: '{text}'.")
    for char, escaped in (("\\", "\\\\"), ('"', '\\"'), ("%", "%%")):
        text = text.replace(char, escaped)
    return f'{name}="{text}"'


def with_options(options: Sequence[str] | dict[str, None]) -> list[str]:
    """ssh's -o for each."""
    return [word for option in options for word in ("-o", option)]


class Transport(Protocol):
    """Turns an argv for the host into one for this machine."""

    name: str
    become: bool  # whether commands go through sudo -n
    strays: str  # a script that ends what a command left without its mark, '' where none can

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


# What a program says is read in English. Not C.UTF-8, which not every host has and in which
# LANGUAGE would still count. In C, bytes of other alphabets pass through pipes and JSON as they
# are, Python takes its UTF-8 mode (PEP 540), and gettext is off; only tables for people escape
# them (findmnt, ps, ls -q).
LANGUAGE = ("LC_ALL", "C")


def variables(mark: tuple[str, str] | None) -> list[tuple[str, str]]:
    """The environment of every command: its language, and its mark where it has one."""
    return [LANGUAGE, *([mark] if mark else [])]


class LocalTransport:
    """This machine."""

    def __init__(self, *, become: bool = False) -> None:
        self.name = "local"
        self.become = become
        self.strays = ""  # the login session is the user's, with what he runs beside us
        self.login = "this machine"

    def argv(
        self, argv: Sequence[str], *, mark: tuple[str, str] | None = None, sweep: Sequence[str] = ()
    ) -> list[str]:
        sudo: list[str] = []
        kept: list[tuple[str, str]] = []
        if self.become:
            sudo = ["sudo", "-n", "--"]
            kept = [(name, os.environ.get(name, "")) for name in KEPT]
        return [*sudo, "env", *map("=".join, [*kept, *variables(mark)]), *argv]

    def lost(self, result: Result) -> str | None:
        return None

    def reconnect(self) -> None:
        return None

    @contextlib.contextmanager
    def forward(self, address: str, port: int) -> Iterator[tuple[str, int]]:
        yield address, port

    def close(self) -> None:
        return None
