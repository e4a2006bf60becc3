"""The RPM repository that the guide's dnf command installs from.

Stands for: NVIDIA's repository of the container toolkit, and the base repository of the guest's
distribution. Real: packages, index and signatures, as dnf wants them. Not real: it is one, where
those are two, and it is read from the lab's own disk.
"""

import shutil
from collections.abc import Iterable
from pathlib import Path

from vlab import debs
from vlab.build import Build
from vlab.packages import TOOLKIT_VERSION
from vlab.standins.nvidia import rewrap, signing

HERE = Path(__file__).parent / "toolkit"

# What the repository offers besides the toolkit; what they need is found by apt.
DEV_PACKAGES = ("gcc", "make", "pciutils", "binutils")
# apt takes it for installed: Debian calls it essential, and it was taken out of the guest.
REMOVED_FROM_GUEST = ("tar",)
REPO_FILE = "nvidia-container-toolkit.repo"
# NVIDIA's file has repo_gpgcheck=1 and gpgcheck=0, since only its index is signed; here packages
# are signed as well, as a distribution's are.
REPO = """\
[nvidia-container-toolkit]
name=nvidia-container-toolkit (stand-in)
baseurl=file:///{repo}
repo_gpgcheck=1
gpgcheck=1
enabled=1
gpgkey=file:///{repo}/{key}
"""
SCRATCH = "tmp/vlab-repo"
# Installing is what costs in an emulated machine, so the payload is nearly not compressed.
MACROS = (
    ("_topdir", f"/{SCRATCH}"),
    ("_binary_payload", "w1.zstdio"),
    ("_build_id_links", "none"),
    ("__os_install_post", "%{nil}"),
    ("debug_package", "%{nil}"),
)


def fetch(build: Build) -> None:
    """Download the Debian packages that are re-wrapped."""
    debs.fetch(build, build.debs, *DEV_PACKAGES)
    debs.fetch_alone(build, build.debs, *REMOVED_FROM_GUEST)


def make(build: Build, shelf: Path, toolkit: Iterable[Path]) -> None:
    """Build all packages in the lab's tree, the toolkit's of its files; index ``shelf/repo``."""
    scratch = build.root / SCRATCH
    shutil.rmtree(scratch, ignore_errors=True)
    (scratch / "SOURCES").mkdir(parents=True)
    packages = rewrap.unpack_all(build, build.debs, scratch / "trees")
    (scratch / "rewrapped.spec").write_text(
        rewrap.spec(packages, f"/{SCRATCH}/trees"), encoding="utf-8"
    )
    spec = (HERE / "toolkit.spec").read_text(encoding="utf-8")
    spec = spec.replace("@VERSION@", TOOLKIT_VERSION)
    spec = spec.replace("@LIBRARIES@", f"/usr/lib/{build.arch.machine}-linux-gnu")
    (scratch / "toolkit.spec").write_text(spec, encoding="utf-8")
    for file in toolkit:
        shutil.copy2(file, scratch / "SOURCES")
    defines = [word for name, value in MACROS for word in ("--define", f"{name} {value}")]
    for name in ("rewrapped", "toolkit"):
        build.chroot(build.root, "rpmbuild", "-bb", *defines, f"/{SCRATCH}/{name}.spec")
    repo = shelf / "repo"
    shutil.rmtree(repo, ignore_errors=True)
    repo.mkdir()
    inside = str(repo.relative_to(build.root))
    names = [package.name for package in sorted((scratch / "RPMS").glob("*/*.rpm"))]
    for package in (scratch / "RPMS").glob("*/*.rpm"):
        shutil.move(package, repo)
    shutil.rmtree(scratch)
    signing.packages(build, (f"/{inside}/{name}" for name in names))
    build.chroot(
        build.root,
        *("createrepo_c", "--quiet", "--no-database", "--general-compress-type=gz", f"/{inside}"),
    )
    signing.index(build, inside)
    text = REPO.format(repo=inside, key=signing.PUBLIC_KEY)
    (shelf / REPO_FILE).write_text(text, encoding="utf-8")
