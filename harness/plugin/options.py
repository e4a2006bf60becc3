"""The harness's command-line options, and what they come to with a profile's policy."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import pytest

from harness.profile.schema import BaseProfile
from harness.run.stage import Provision


def add(parser: pytest.Parser) -> None:
    """Declare the options."""
    group = parser.getgroup("acceptance", "acceptance of a lab host")
    _how_to_run(group)
    _instead_of_running(group)


def _how_to_run(group: pytest.OptionGroup) -> None:
    group.addoption(
        "--profile",
        default=None,
        metavar="NAME|PATH",
        help="lab to run against: profiles/NAME.toml, or a TOML file (default: vlab)",
    )
    group.addoption(
        "--provision",
        choices=("auto", "always", "never"),
        default=None,
        help="auto: reuse what verifies; always: make anew; never: only verify what is there",
    )
    group.addoption(
        "--keep",
        choices=("never", "on-failure", "always"),
        default=None,
        help="when to leave the host as it is at the end, for a look (pytest --recover cleans up)",
    )
    group.addoption(
        "--restore",
        action="store_true",
        help="at the end also take back what is otherwise kept for the next run",
    )
    group.addoption(
        "--allow-local",
        action="store_true",
        help="let a profile with target 'local' change this very machine",
    )


def _instead_of_running(group: pytest.OptionGroup) -> None:
    group.addoption(
        "--recover",
        action="store_true",
        help="finish the undo of runs that died on the host, and end; runs no test",
    )
    group.addoption(
        "--show-profile",
        action="store_true",
        help="print the effective profile, secrets masked, and end",
    )
    group.addoption(
        "--plan",
        action="store_true",
        help="print what a run of the selected tests would do, and end; connects to nothing",
    )


@dataclass(frozen=True)
class Choices:
    """What holds for this run: the command line first, then the profile."""

    provision: Provision
    keep: str
    restore: bool

    @classmethod
    def of(cls, config: pytest.Config, profile: BaseProfile) -> Choices:
        """What a command line and a profile come to."""
        option: Any = config.option
        return cls(
            provision=cast(Provision, option.provision or profile.policy.provision),
            keep=option.keep or profile.policy.keep,
            restore=bool(option.restore),
        )


def profile_name(config: pytest.Config) -> str:
    """The profile that was asked for."""
    return str(config.option.profile or "vlab")


def recover_line(config: pytest.Config, environ: Mapping[str, str]) -> str:
    """The line for a shell that cleans up this very host, wherever the profile got it from."""
    words = ["pytest", "--recover", "--profile", profile_name(config)]
    if config.option.allow_local:
        words.append("--allow-local")
    target = [
        f"{name}={shlex.quote(value)}"
        for name, value in sorted(environ.items())
        if name.startswith("ACCEPT_TARGET__")
    ]
    return " ".join([*target, shlex.join(words)])


def may_run_acceptance(config: pytest.Config) -> bool:
    """Whether the command line alone shows that the profile is asked for."""
    option: Any = config.option
    return _asked(config) or bool(option.show_profile or option.recover or option.plan)


def will_run_acceptance(config: pytest.Config) -> bool:
    """Whether the command line alone shows that a host is to be changed."""
    option: Any = config.option
    only_tells = option.show_profile or option.plan or option.collectonly
    return bool(option.recover) or (_asked(config) and not only_tells)


def _asked(config: pytest.Config) -> bool:
    mark = str(config.option.markexpr or "")
    return "acceptance" in mark and "not acceptance" not in mark
