"""What the steps of an image build share: the trees, a checked way to run commands, a log."""

import os
import shlex
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from vlab.errors import VlabError

SUITE = "trixie"

# What no lab ever reads: it would only be copied, packed and hashed.
EXCLUDES = tuple(
    f"path-exclude=/usr/share/{name}/*" for name in ("man", "doc", "locale", "info", "lintian")
)


@dataclass(frozen=True)
class Build:
    """One image build: where its trees are, and how to run commands on them.

    ``root`` is the lab host's tree, ``guest`` the tree of the guest image that kata boots,
    ``debs`` holds Debian packages to be re-wrapped as RPMs, ``wheels`` the wheels from PyPI.
    """

    work: Path
    log: Path
    say: Callable[[str], None]

    @property
    def root(self) -> Path:
        return self.work / "root"

    @property
    def guest(self) -> Path:
        return self.work / "guest"

    @property
    def debs(self) -> Path:
        return self.work / "debs"

    @property
    def wheels(self) -> Path:
        return self.work / "wheels"

    def run(self, *argv: str | Path, cwd: Path | None = None) -> str:
        """Run a command, return its standard output; both streams go to the build log.

        Raises VlabError with the command's last lines when it fails or is not there.
        """
        words = [str(word) for word in argv]
        with self.log.open("a", encoding="utf-8") as log:
            log.write(f"$ {shlex.join(words)}\n")
            log.flush()
            try:
                done = subprocess.run(
                    words,
                    cwd=cwd,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    text=True,
                    errors="replace",
                    env={**os.environ, "LC_ALL": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive"},
                )
            except FileNotFoundError as error:
                raise VlabError(
                    f"'{words[0]}' is not installed; ./bootstrap installs it"
                ) from error
            log.write(done.stdout)
        if done.returncode:
            tail = "\n".join(done.stdout.splitlines()[-15:])
            raise VlabError(
                f"'{shlex.join(words)}' exited {done.returncode} while the lab image was built "
                f"(log: {self.log}):\n{tail}"
            )
        return done.stdout

    def chroot(self, tree: Path, *argv: str | Path) -> str:
        """Run a command in one of the trees, natively."""
        return self.run("chroot", tree, "/usr/bin/env", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", *argv)

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Say what is being done before it starts, and how long it took after it."""
        start = time.monotonic()
        self.say(f"vlab: {name} ...")
        yield
        self.say(f"vlab: {name}: {time.monotonic() - start:.0f} s")

    def mmdebstrap(
        self, target: Path, *, variant: str, include: Sequence[str], extra: Sequence[str] = ()
    ) -> None:
        """Make a Debian tree (or tar file, by the target's name) from the machine's own mirror."""
        self.run(
            "mmdebstrap",
            "--mode=root",
            f"--variant={variant}",
            f"--include={','.join(include)}",
            f"--keyring={KEYRING}",
            '--aptopt=Apt::Install-Recommends "false"',
            *(f"--dpkgopt={rule}" for rule in EXCLUDES),
            *extra,
            SUITE,
            target,
            mirror(self),
        )


KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")


def mirror(build: Build) -> str:
    """The Debian mirror that this machine's own apt is configured for.

    A lab behind a proxy or with a local mirror has told apt so already; asking again in a setting
    of ours would only be one more thing to get wrong.
    """
    out = build.run(
        "apt-get", "indextargets", "--format", "$(REPO_URI) $(COMPONENT)", "Created-By: Packages"
    )
    for line in out.splitlines():
        uri, _, component = line.partition(" ")
        if component == "main" and uri.rstrip("/").endswith("/debian"):
            return uri.rstrip("/")
    return "http://deb.debian.org/debian"
