"""The harness's command-line options, and what they come to with a profile's policy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import pytest

from harness.profile import BaseProfile
from harness.stage import Provision


def add(parser: pytest.Parser) -> None:
    """Declare the options."""
    group = parser.getgroup("acceptance", "acceptance of a lab host")
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
        "--recover",
        action="store_true",
        help="finish the undo of runs that died on the host, and end; runs no test",
    )
    group.addoption(
        "--allow-local",
        action="store_true",
        help="let a profile with target 'local' change this very machine",
    )
    group.addoption(
        "--show-profile",
        action="store_true",
        help="print the effective profile, secrets masked, and end",
    )


@dataclass(frozen=True)
class Choices:
    """What holds for this run: the command line first, then the profile."""

    provision: Provision
    keep: str
    restore: bool

    @classmethod
    def of(cls, config: pytest.Config, profile: BaseProfile) -> Choices:
        option: Any = config.option
        return cls(
            provision=cast(Provision, option.provision or profile.policy.provision),
            keep=option.keep or profile.policy.keep,
            restore=bool(option.restore),
        )


def profile_name(config: pytest.Config) -> str:
    """The profile that was asked for."""
    return str(config.option.profile or "vlab")


def may_run_acceptance(config: pytest.Config) -> bool:
    """Whether it is plain from the command line alone that acceptance tests are asked for."""
    mark = str(config.option.markexpr or "")
    option: Any = config.option
    asked = "acceptance" in mark and "not acceptance" not in mark
    return asked or bool(option.show_profile or option.recover)
