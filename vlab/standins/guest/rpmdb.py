"""An rpm database for the guest, so that dnf knows what the image has without any package.

The system in the guest came from Debian packages, which rpm knows nothing of. One package,
``guest-base``, is entered into the database without a file: it provides what the guest's system
really has, by the names that packages in the lab's repository ask for.
"""

import shutil

from vlab.build import Build

SCRATCH = "tmp/vlab-rpmdb"

SPEC = """\
Name: guest-base
Version: 13
Release: 1
Summary: What the guest image has without rpm knowing: Debian trixie, thinned
License: various
BuildArch: noarch
AutoReqProv: no
Provides: /bin/sh
Provides: /bin/bash
Provides: /sbin/ldconfig
Provides: bash
Provides: coreutils
Provides: kmod
Provides: util-linux
Provides: glibc
Provides: system-release = 13
Provides: system-release(releasever) = 13
%description
A stand-in: no file belongs to it. The guest's files came from Debian packages.
%files
"""


def install(build: Build) -> None:
    """Make the package and enter it into the guest's database."""
    scratch = build.root / SCRATCH
    shutil.rmtree(scratch, ignore_errors=True)
    (scratch / "tree").mkdir(parents=True)
    (scratch / "guest-base.spec").write_text(SPEC, encoding="utf-8")
    build.chroot(
        build.root,
        *("rpmbuild", "-bb", "--quiet", "--define", f"_topdir /{SCRATCH}"),
        f"/{SCRATCH}/guest-base.spec",
    )
    package = f"/{SCRATCH}/RPMS/noarch/guest-base-13-1.noarch.rpm"
    build.chroot(
        build.root,
        *("rpm", "--root", f"/{SCRATCH}/tree", "--install", "--justdb", "--nodeps", package),
    )
    (written,) = scratch.glob("tree/**/rpmdb.sqlite")
    folder = written.parent.relative_to(scratch / "tree")
    shutil.copytree(written.parent, build.guest / folder, dirs_exist_ok=True)
