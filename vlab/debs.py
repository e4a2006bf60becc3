"""Debian packages by name, fetched with what they need beyond the guest's own packages.

apt itself resolves and downloads, with the guest tree's sources and package lists and a copy of
its dpkg status, so that a mirror that this machine uses is used here too. Nothing of the
machine's own apt state is read or written.
"""

import re
import shutil
from pathlib import Path

from vlab.build import Build
from vlab.errors import VlabError


def take_apt_state(build: Build) -> None:
    """Move the guest's package lists and a copy of its dpkg status out of the guest tree."""
    state = _state(build)
    state.mkdir(parents=True)
    shutil.move(build.guest / "var/lib/apt/lists", state / "lists")
    (state / "lists/partial").mkdir(exist_ok=True)
    shutil.copy2(build.guest / "etc/apt/sources.list", state / "sources.list")
    shutil.copy2(build.guest / "var/lib/dpkg/status", state)


def fetch(build: Build, target: Path, *names: str) -> None:
    """Download packages with everything they depend on that the guest does not have."""
    (target / "partial").mkdir(parents=True, exist_ok=True)
    build.run(
        "apt-get",
        *_options(build),
        *("-o", f"Dir::Cache::archives={target}"),
        *("--yes", "--download-only", "--no-install-recommends", "install"),
        *names,
    )


def fetch_alone(build: Build, target: Path, *names: str) -> None:
    """Download packages and nothing that they depend on."""
    target.mkdir(parents=True, exist_ok=True)
    build.run("apt-get", *_options(build), "download", *names, cwd=target)


def meaning_of(build: Build, meta: str) -> str:
    """The one package that a metapackage depends on, such as the current kernel.

    Raises VlabError when the mirror does not know it.
    """
    out = build.run("apt-cache", *_options(build), "depends", "--important", meta)
    found = re.search(r"^\s*Depends: (\S+)$", out, re.MULTILINE)
    if not found:
        raise VlabError(f"the Debian mirror has no package '{meta}'")
    return found[1]


def unpack(build: Build, debs: Path, name: str, target: Path) -> None:
    """Unpack one downloaded package by its name, running none of its scripts."""
    (deb,) = debs.glob(f"{name}_*.deb")
    target.mkdir(parents=True, exist_ok=True)
    build.run("dpkg-deb", "--extract", deb, target)


def _state(build: Build) -> Path:
    return build.work / "apt"


def _options(build: Build) -> tuple[str, ...]:
    state = _state(build)
    settings = (
        f"Dir::State={state}",
        f"Dir::State::lists={state}/lists",
        f"Dir::State::status={state}/status",
        f"Dir::Etc::sourcelist={state}/sources.list",
        "Dir::Etc::sourceparts=/dev/null",
        "Dir::Etc::preferencesparts=/dev/null",
        f"Dir::Cache={state}/cache",
        f"APT::Architecture={build.arch.deb}",
        f"APT::Architectures={build.arch.deb}",
        # apt's download user may not enter the build folder.
        "APT::Sandbox::User=root",
    )
    return tuple(word for setting in settings for word in ("-o", setting))
