"""Debian packages as RPMs: the same files under the same names, thinned, with no scripts.

Stands for: the packages of the guest's own distribution. One spec file makes one RPM a package.
Real: files, names, versions, and dependencies inside the set. Not real: maintainer scripts (the
links that they would make are added here), documentation, and what compiling a kernel module in C
does not need (C++, link-time optimisation, sanitizers, profiling).
"""

import fnmatch
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from vlab.build import Build

DROPPED_PACKAGES = (
    *("libasan8", "libhwasan0", "liblsan0", "libtsan2", "libubsan1", "libgprofng0"),
    *("libitm1", "libquadmath0", "libgomp1", "libatomic1", "libcc1-0", "libstdc++6"),
)
# Patterns match whole paths; * crosses folders.
DROPPED_FILES = (
    *("/usr/share/doc/*", "/usr/share/man/*", "/usr/share/info/*", "/usr/share/locale/*"),
    *("/usr/share/lintian/*", "/usr/share/gdb/*", "/usr/share/bug/*", "/usr/share/gcc/*"),
    *("*/lto1", "*/lto-wrapper", "*lto-dump*", "*gcov*", "*gprofng*", "*/plugin/*", "*/g++-*"),
    *("*/lib?san*.a", "*/libhwasan*", "*/libgomp*", "*/libquadmath*", "*/libitm*", "*/libcc1*"),
    *("*/libatomic*", "*/libbacktrace.a", "*/libsanitizer.spec", "*/libgcov.a"),
    *("*/include/avx512*", "*/include/amx*", "*dwp", "*/ld.gold", "*-gold", "*gp-*"),
)
# Debian's alternatives system makes these at installation.
ADDED_LINKS = {"gcc": {"/usr/bin/cc": "gcc"}}


@dataclass(frozen=True)
class Package:
    """A Debian package about to become an RPM; ``files`` are absolute, ``needs`` in the set."""

    name: str
    version: str
    release: str
    summary: str
    needs: tuple[str, ...]
    files: tuple[str, ...]


def unpack_all(build: Build, folder: Path, trees: Path) -> list[Package]:
    """Unpack the packages of a folder, each to a tree of its name, and thin them."""
    found = []
    for deb in sorted(folder.glob("*.deb")):
        control = fields(build.run("dpkg-deb", "--field", deb))
        name = control["Package"]
        if name in DROPPED_PACKAGES:
            continue
        tree = trees / name
        tree.mkdir(parents=True)
        build.run("dpkg-deb", "--extract", deb, tree)
        for link, aim in ADDED_LINKS.get(name, {}).items():
            (tree / link.lstrip("/")).symlink_to(aim)
        found.append((control, thin(tree)))
    names = {control["Package"] for control, _ in found}
    return [described(control, names, files) for control, files in found]


def fields(control: str) -> dict[str, str]:
    """The fields of a package's control data; of a longer field, its first line."""
    return dict(re.findall(r"^(\S+): (.*)$", control, re.MULTILINE))


def described(control: dict[str, str], names: Iterable[str], files: Iterable[str]) -> Package:
    """What goes into the spec, of a package's control fields and the names of the whole set."""
    version, release = split_version(control["Version"])
    wanted = re.findall(
        r"[^\s,|():]+(?=(?::any)?(?: \([^)]*\))?(?:,|$|\s*\|))",
        ", ".join(control[field] for field in ("Pre-Depends", "Depends") if field in control),
    )
    return Package(
        name=control["Package"],
        version=version,
        release=release,
        summary=control["Description"],
        needs=tuple(sorted(set(wanted) & set(names))),
        files=tuple(files),
    )


def split_version(version: str) -> tuple[str, str]:
    """Debian's version as RPM's version and release.

    The epoch is left out, since nothing in the set asks for a version; an RPM version may not
    have a hyphen.

    >>> split_version("1:3.13.0-2")
    ('3.13.0', '2')
    >>> split_version("4.4")
    ('4.4', '0')
    """
    upstream, _, revision = version.rpartition("-")
    if not upstream:
        upstream, revision = revision, "0"
    return upstream.rpartition(":")[2].replace("-", "~"), revision


def thin(tree: Path) -> list[str]:
    """Delete what is not shipped; return the paths of what is, as they will be in the guest."""
    kept = []
    for folder, _, names in os.walk(tree):
        links = [name for name in os.listdir(folder) if (Path(folder) / name).is_symlink()]
        for name in sorted({*names, *links}):
            path = Path(folder) / name
            inside = f"/{path.relative_to(tree)}"
            if any(fnmatch.fnmatchcase(inside, pattern) for pattern in DROPPED_FILES):
                path.unlink()
            else:
                kept.append(inside)
    return kept


def spec(packages: Iterable[Package], trees: str) -> str:
    """One spec file for all packages; ``trees`` is where they are for rpmbuild."""
    packages = list(packages)
    head = """\
Name: rewrapped
Version: 1
Release: 1
Summary: Source of the re-wrapped packages; it has no package of its own
License: various
AutoReqProv: no
%description
Debian packages as RPMs, for a virtual lab.
%install
"""
    copies = "".join(f"cp -a {trees}/{package.name}/. %{{buildroot}}/\n" for package in packages)
    return head + copies + "".join(_section(package) for package in packages)


def _section(package: Package) -> str:
    requires = "".join(f"Requires: {name}\n" for name in package.needs)
    files = "".join(f'"{path}"\n' for path in package.files)
    return f"""
%package -n {package.name}
Version: {package.version}
Release: {package.release}
Summary: {package.summary}
AutoReqProv: no
{requires}%description -n {package.name}
{package.summary} (Debian's package, re-wrapped for a virtual lab).
%files -n {package.name}
{files}"""
