"""The guest: what a nested machine boots from.

Stands for: the guest image, the guest kernel and the kernel's source tree that a kata build makes.
Real: a bare ext4 root of a small distribution, filled so tightly that the driver does not fit
before it is enlarged, an rpm database that dnf --installroot works on, Debian's own kernel with
its modules, and its headers merged into one configured tree that builds modules.
Not real: the system in the image is Debian's (thinned) and not openEuler's, the kernel needs an
initrd, and its "source tree" is headers, not the whole source.
There are two images of the same file system: rootfs.img, bare, and rootfs-partitioned.img. For
kata itself, which boots a first partition and nothing else, both names have the latter.
"""

import shutil
from pathlib import Path

from vlab import debs
from vlab.build import Build
from vlab.standins.guest import kernel, rootfs, rpmdb

# No apt in the guest: its packages come by dnf, as in the guide.
VARIANT = "essential"
PACKAGES = (
    "kmod",
    "iproute2",
    "mount",
    "util-linux",
    "libpython3-stdlib",  # the agent is Python, and so is nothing else
    "python3-minimal",
    "libelf1t64",  # the kernel tree's objtool
)


def bootstrap(build: Build) -> None:
    """Make the guest's tree with its kernel modules, before any stand-in adds to it."""
    build.mmdebstrap(
        build.guest, variant=VARIANT, include=PACKAGES, extra=("--skip=cleanup/apt/lists",)
    )
    debs.take_apt_state(build)
    rootfs.thin(build.guest)
    kernel.install_modules(build, kernel.fetch(build))


def install(build: Build) -> None:
    """Put image, kernel, initrd and kernel tree where the lab's profile looks for them."""
    release = installed_release(build.guest)
    kernel.install_boot(build, release)
    kernel.install_headers(build, release)
    rpmdb.install(build)
    target = build.root / "srv/lab/rootfs.img"
    target.parent.mkdir(parents=True, exist_ok=True)
    rootfs.pack(build, target)
    partitioned = target.with_name("rootfs-partitioned.img")
    rootfs.pack_partitioned(target, partitioned)
    if build.kata:
        target.unlink()
        target.hardlink_to(partitioned)
    shutil.rmtree(build.root / rpmdb.SCRATCH, ignore_errors=True)


def installed_release(tree: Path) -> str:
    """The kernel release whose modules a guest tree has."""
    (folder,) = (tree / "usr/lib/modules").iterdir()
    return folder.name
