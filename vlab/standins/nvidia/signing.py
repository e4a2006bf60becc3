"""The key of the RPM repository, made with the image, and what is signed with it.

Stands for: NVIDIA's signature on its packages and on its repository's index. Real: the signatures,
which rpm and dnf check. Not real: whose key it is, and that it outlives the build: its private
half is thrown away, so nobody can sign for this repository again.
"""

import shutil
from collections.abc import Iterable

from vlab.build import Build

_HOME = "tmp/vlab-gpg"
_NAME = "virtual lab repository (stand-in)"
PUBLIC_KEY = "gpgkey"


def packages(build: Build, paths: Iterable[str]) -> None:
    """Make the key, and sign packages of the lab's tree in place."""
    home = build.root / _HOME
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir(mode=0o700)
    make = ("--batch", "--passphrase", "", "--quick-generate-key", _NAME, "rsa3072", "sign", "0")
    _gpg(build, *make)
    settings = ("--define", f"_gpg_path /{_HOME}", "--define", f"_gpg_name {_NAME}")
    build.chroot(build.root, "rpmsign", *settings, "--addsign", *paths)


def index(build: Build, repo: str) -> None:
    """Sign a repository's index, put the public key beside it, and throw the private one away."""
    _gpg(build, "--batch", "--armor", "--detach-sign", f"/{repo}/repodata/repomd.xml")
    _gpg(build, "--batch", "--armor", "--output", f"/{repo}/{PUBLIC_KEY}", "--export", _NAME)
    build.chroot(build.root, "gpgconf", "--homedir", f"/{_HOME}", "--kill", "all")
    shutil.rmtree(build.root / _HOME)


def _gpg(build: Build, *words: str) -> None:
    build.chroot(build.root, "gpg", "--homedir", f"/{_HOME}", *words)
