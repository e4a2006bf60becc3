"""The sources of an image (mirror, proxy) as this machine has them configured, and their errors.

A machine behind a proxy or with a local mirror has told apt and pip so already; asking again in a
setting of ours would only be one more thing to get wrong.
"""

import re
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

Run = Callable[..., str]
"""Runs a command and returns what it printed."""

DEFAULT_MIRROR = "http://deb.debian.org/debian"
_FIELDS = "$(REPO_URI)|$(COMPONENT)|$(ORIGIN)|$(LABEL)"
# Proxies, certificates and the like; and a snapshot's index is valid for ever. With scopes of
# their own (Acquire::http::Proxy::mirror.example) or without.
_KEPT_SETTINGS = re.compile(r'Acquire::(?:https?::|Check-Valid-Until |Check-Date )[^"]*"[^"]+";$')

_NO_SPACE = re.compile(r"No space left on device|Disk quota exceeded|File too large")
_APT_FAILED = re.compile(r"^E: Failed to fetch (\S+)\s+(.*)$", re.MULTILINE)
_APT_NO_SUITE = re.compile(r"^E: The repository '(\S+) (\S+) Release' does not have", re.MULTILINE)
_PIP_FAILED = re.compile(r"^ERROR: No matching distribution found for (\S+)", re.MULTILINE)
_PIP_INDEX = re.compile(r"^Looking in indexes: (.*)$", re.MULTILINE)


def mirror(run: Run) -> str:
    """The Debian mirror that this machine's own apt is configured for, whatever its form."""
    listing = run("apt-get", "indextargets", "--format", _FIELDS, "Created-By: Packages")
    return choose_mirror(listing)


def choose_mirror(listing: str) -> str:
    """The archive's own address in a listing of apt's index targets.

    Debian's archive says so in its Release file (origin and label). Where the lists were not
    downloaded yet, an address with a folder "debian" is taken for it; a snapshot's has one, too.

    >>> choose_mirror("https://m.example/mirror|main|Debian|Debian")
    'https://m.example/mirror'
    >>> choose_mirror("http://snapshot.debian.org/archive/debian/20260101T000000Z/|main||")
    'http://snapshot.debian.org/archive/debian/20260101T000000Z'
    """
    main = [line.split("|") for line in listing.splitlines() if line.split("|")[1:2] == ["main"]]
    said = [uri for uri, _, origin, label in main if (origin, label) == ("Debian", "Debian")]
    named = [uri for uri, *_ in main if "debian" in urlsplit(uri).path.split("/")]
    found = next(iter(said or named), DEFAULT_MIRROR).rstrip("/")
    # apt uses the packages of a file: mirror where they lie, which a chroot does not see.
    return re.sub(r"^file:", "copy:", found)


def apt_settings(run: Run) -> list[str]:
    """This machine's settings for apt to reach a mirror, as lines of apt.conf."""
    lines = run("apt-config", "dump").splitlines()
    return [line.rstrip(";") for line in lines if _KEPT_SETTINGS.match(line)]


def reason(output: str, log: Path) -> str:
    """One sentence for a command that failed for want of space or network; empty for others."""
    if _NO_SPACE.search(output):
        return full(log.parent)
    if found := _APT_FAILED.search(output):
        address, why = found.groups()
        return (
            f"{address} could not be fetched ({why.strip()}): building the lab image needs the "
            f"Debian mirror that this machine's apt is configured for (log: {log})"
        )
    if found := _APT_NO_SUITE.search(output):
        address, suite = found.groups()
        return (
            f"the Debian mirror {address} has no suite '{suite}', which building the lab image "
            f"needs: name a mirror that has it to this machine's apt (log: {log})"
        )
    if found := _PIP_FAILED.search(output):
        index = _PIP_INDEX.search(output)
        return (
            f"the wheel '{found[1]}' could not be fetched from "
            f"{index[1] if index else 'PyPI'}: building the lab image needs it, or an index "
            f"that has it in pip's configuration (log: {log})"
        )
    return ""


def full(folder: Path) -> str:
    """The sentence for a disk that filled up."""
    return (
        f"the file system of {folder} is full, or a limit on files was reached; make room, or "
        "name another folder with VLAB_CACHE"
    )
