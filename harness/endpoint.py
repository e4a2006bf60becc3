"""Where a host is reached by ssh, and what ssh(1) has to be told for it."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


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
        """The ssh options ("Name=value") that it comes to."""
        options = []
        if self.identity is not None:
            options += [f'IdentityFile="{self.identity}"', "IdentitiesOnly=yes"]
        if self.known_hosts is not None:
            options.append(f'UserKnownHostsFile="{self.known_hosts}"')
        return options

    @property
    def target(self) -> list[str]:
        """The words that end an ssh command line, but for the remote command."""
        return ["-p", str(self.port), "-l", self.user, "--", self.host]

    def login(self, options: Sequence[str] = ()) -> str:
        """The line for a shell by which a person logs in."""
        words = with_options(dict.fromkeys([*self.options, *options]))
        return shlex.join(["ssh", *words, *self.target])


def with_options(options: Sequence[str] | dict[str, None]) -> list[str]:
    """ssh's -o for each."""
    return [word for option in options for word in ("-o", option)]
