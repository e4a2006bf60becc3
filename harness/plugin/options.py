"""The command-line options of pytest and of `python -m harness`, and their effective values."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from harness.errors import RECOVER
from harness.profile.schema import BaseProfile
from harness.run.stage import Provision

DEFAULT_PROFILE = "vlab"
# How argparse and pytest declare an option: `add_argument`, or `addoption`.
Add = Callable[..., object]


def which_lab(add: Add) -> None:
    """Declare the option that chooses the profile."""
    add(
        "--profile",
        default=None,
        metavar="NAME|PATH",
        help=f"the lab: profiles/NAME.toml, or a TOML file (default: {DEFAULT_PROFILE}); for pytest"
        " a path takes the equals sign, --profile=/etc/mylab.toml; any of its values can be given"
        " in the environment, as in ACCEPT_NETWORK__SUBNET=10.99.0.0/16",
    )


def which_labs(add: Add) -> None:
    """Declare pytest's option that makes a fleet."""
    add(
        "--lab",
        action="append",
        default=[],
        metavar="NAME|PATH",
        help="once for each lab host, as --profile names one: all of them at once, a worker of"
        " pytest-xdist each, with one report (-n is their number, or left out)",
    )


def what_to_make(add: Add) -> None:
    """Declare the option that says what is made anew."""
    add(
        "--provision",
        choices=("auto", "always", "never"),
        default=None,
        help="auto: reuse what verifies; always: make anew; never: only verify what is there",
    )


def where_from(add: Add) -> None:
    """Declare the option that keeps a run from the network."""
    add(
        "--offline",
        default=None,
        metavar="FOLDER",
        help="take assets from this folder alone, which python -m harness prefetch has filled, and"
        " nothing from the network; for pytest with the equals sign, --offline=/media/assets",
    )


def what_to_fetch(add: Add) -> None:
    """Declare the arguments of `python -m harness prefetch`."""
    add("folder", metavar="FOLDER", help="where it goes; what is there already and sound stays")
    add(
        "--pin",
        default=None,
        metavar="LOCK",
        help="in place of a profile: all of this asset lock, into which the digest and the size of"
        " what has none are written as it comes; compare them with what its maker publishes",
    )


def what_to_undo(add: Add) -> None:
    """Declare the options of what changes the host."""
    add(
        "--restore",
        action="store_true",
        help="at the end also take back what is otherwise kept for the next run",
    )
    add(
        "--allow-local",
        action="store_true",
        help="let a profile with target 'local' change this very machine",
    )


def what_to_keep(add: Add) -> None:
    """Declare the options that leave the host as it is."""
    add(
        "--keep",
        choices=("never", "on-failure", "always"),
        default=None,
        help=f"when to leave the host as it is at the end, for a look; {RECOVER} cleans up",
    )
    add(
        "--stop-at-first",
        action="store_true",
        help="end at the first failure with all still up, as -x --keep on-failure, and say the ways"
        " in: host, container, QEMU, console",
    )


def instead_of_running(add: Add) -> None:
    """Declare pytest's options for what `python -m harness` does."""
    add(
        "--recover",
        action="store_true",
        help="as python -m harness recover: finish the undo of runs that died on the host, and end",
    )
    add(
        "--show-profile",
        action="store_true",
        help="as python -m harness profile: print the effective profile, secrets masked, and end",
    )
    add(
        "--plan",
        action="store_true",
        help="as python -m harness plan: print what a run of the selected tests would do, and end;"
        " connects to nothing",
    )


@dataclass(frozen=True)
class Choices:
    """The effective choices of this run: from the command line, else from the profile."""

    provision: Provision
    keep: str
    restore: bool
    offline: Path | None = None

    @classmethod
    def effective(cls, options: argparse.Namespace, profile: BaseProfile) -> Choices:
        """Combine a command line and a profile; a command need not have every option."""
        given = vars(options)
        keep = given.get("keep") or profile.policy.keep
        if given.get("stop_at_first") and keep == "never":  # of the profile
            keep = "on-failure"
        folder = Path(given["offline"]) if given.get("offline") else profile.policy.offline
        return cls(
            provision=cast(Provision, given.get("provision") or profile.policy.provision),
            keep=keep,
            restore=bool(given.get("restore")),
            offline=folder.expanduser().absolute() if folder else None,
        )


def profile_name(options: argparse.Namespace) -> str:
    """The profile that was asked for."""
    return str(options.profile or DEFAULT_PROFILE)


def recover_line(options: argparse.Namespace, environ: Mapping[str, str]) -> str:
    """The shell command that cleans up this very host, also where the environment names it."""
    words = [*RECOVER.split(), "--profile", profile_name(options)]
    if options.allow_local:
        words.append("--allow-local")
    target = [
        f"{name}={shlex.quote(value)}"
        for name, value in sorted(environ.items())
        if name.startswith("ACCEPT_TARGET__")
    ]
    return " ".join([*target, shlex.join(words)])


def may_run_acceptance(options: argparse.Namespace) -> bool:
    """Whether pytest's command line alone shows that the profile is asked for."""
    mark = str(options.markexpr or "")
    return options.plan or ("acceptance" in mark and "not acceptance" not in mark)


def will_run_acceptance(options: argparse.Namespace) -> bool:
    """Whether pytest's command line alone shows that a host is to be changed."""
    only_tells = options.plan or options.collectonly or options.setupplan
    return may_run_acceptance(options) and not only_tells
