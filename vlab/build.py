"""What the steps of an image build share: the trees, a checked way to run commands, a log."""

import os
import shlex
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from vlab import sources
from vlab.errors import VlabError
from vlab.packages import BACKPORTS, SUITE, Architecture, architecture
from vlab.process import DIE_WITH_PARENT

KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")

# What no lab ever reads: it would only be copied, packed and hashed.
EXCLUDES = tuple(
    f"path-exclude=/usr/share/{name}/*" for name in ("man", "doc", "locale", "info", "lintian")
)

# What mmdebstrap leaves in a tree of the machine that it ran on. In apt's settings can be a proxy
# that nobody else reaches, and its password.
OF_THIS_MACHINE = ("etc/apt/apt.conf.d/99mmdebstrap", "etc/resolv.conf", "etc/hostname")

# A tree that an ordinary user made has no device nodes: it borrows the machine's for a command.
WITH_DEVICES = 'mount --rbind /dev "$1/dev" && exec chroot "$@"'


@dataclass(frozen=True)
class Build:
    """One image build: where its trees are, and how to run commands on them.

    ``root`` is the lab host's tree, ``guest`` the tree of the guest image that kata boots,
    ``debs`` holds Debian packages to be re-wrapped as RPMs, ``wheels`` the wheels from PyPI.
    ``kata`` is a release of kata that takes the place of the stand-in (``vlab.parts.kata``).
    """

    work: Path
    log: Path
    say: Callable[[str], None]
    arch: Architecture = field(default_factory=architecture)
    kata: Path | None = None

    @property
    def kept(self) -> Path:
        """What outlives a build, where images and logs are."""
        return self.log.parent

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

        Raises VlabError when it fails or is not there: what could not be fetched or written where
        its words tell, else with its last lines.
        """
        words = [str(word) for word in argv]
        with self.log.open("a", encoding="utf-8") as log:
            log.write(f"$ {shlex.join(words)}\n")
            log.flush()
            environment = _environment()
            if shutil.which(words[0], path=environment["PATH"]) is None:
                raise VlabError(f"'{words[0]}' is not installed: {_remedy(words[0])}")
            done = subprocess.run(
                [*DIE_WITH_PARENT, *words],
                cwd=cwd,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                env=environment,
            )
            log.write(done.stdout)
        if done.returncode:
            raise VlabError(
                sources.reason(done.stdout, self.log)
                or f"'{shlex.join(words)}' exited {done.returncode} while the lab image was built "
                f"(log: {self.log}):\n"
                + "\n".join(done.stdout.splitlines()[-15:])
            )
        return done.stdout

    def chroot(self, tree: Path, *argv: str | Path) -> str:
        """Run a command in one of the trees, natively."""
        enter: tuple[str, ...] = ("chroot",)
        if (tree / "dev").is_dir() and not (tree / "dev/null").is_char_device():
            enter = ("unshare", "--mount", "sh", "-c", WITH_DEVICES, "sh")
        return self.run(*enter, tree, "/usr/bin/env", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", *argv)

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
        """Make a Debian tree from the machine's own mirror, with nothing of the machine in it."""
        mirror = sources.mirror(self.run)
        settings = ('Apt::Install-Recommends "false"', *sources.apt_settings(self.run))
        self.run(
            "mmdebstrap",
            "--mode=root",
            f"--variant={variant}",
            f"--include={','.join(include)}",
            f"--keyring={KEYRING}",
            *(f"--aptopt={setting}" for setting in settings),
            *(f"--dpkgopt={rule}" for rule in EXCLUDES),
            *extra,
            SUITE,
            target,
            *(f"deb {mirror} {suite} main" for suite in (SUITE, BACKPORTS)),
        )
        for name in OF_THIS_MACHINE:
            (target / name).unlink(missing_ok=True)


def _remedy(program: str) -> str:
    if shutil.which("apt-get"):
        return "./bootstrap installs it"
    return f"an image is built on Debian or a system like it, with {program} installed"


def _environment() -> dict[str, str]:
    """This process's, in C.UTF-8, with the folders that an ordinary user's PATH leaves out."""
    path = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"
    fixed = {"LC_ALL": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive", "PATH": path}
    return {**os.environ, **fixed}
