"""A tree that compiles the stand-ins' C programs: the guest's, with the C compiler added.

The machine that builds the image need not have a compiler, and one compiler serves every host.
"""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from vlab import debs
from vlab.build import Build

HERE = Path(__file__).parent
FOLDER = "compiler"  # in the build's folder
# Beyond what the repository ships: headers and the static library for programs with libc.
LIBC_PACKAGES = ("libc6-dev", "linux-libc-dev", "libcrypt-dev")
FLAGS = ("-O2", "-Wall", "-Wextra", "-Werror", "-Wno-format-truncation", "-s")


def make(build: Build) -> Path:
    """Copy the guest's tree and unpack the compiler, libc's headers and our sources into it."""
    tree = build.work / FOLDER
    build.run("cp", "-a", build.guest, tree)
    extra = build.work / "libc-debs"
    debs.fetch_alone(build, extra, *LIBC_PACKAGES)
    for deb in (*build.debs.glob("*.deb"), *extra.glob("*.deb")):
        build.run("dpkg-deb", "--extract", deb, tree)
    sources = tree / "src"
    for folder in ("driver", "toolkit"):
        shutil.copytree(HERE / folder, sources, dirs_exist_ok=True)
    return tree


def program(build: Build, tree: Path, name: str, *sources: str, macros: Mapping[str, str]) -> Path:
    """Compile a program without any library to load: it also runs in a container."""
    return _compile(build, tree, name, ("-static", *sources), macros)


def library(
    build: Build, tree: Path, name: str, source: str, *, soname: str, macros: Mapping[str, str]
) -> Path:
    """Compile a shared library that needs no other."""
    words = ("-shared", "-fPIC", "-nostdlib", f"-Wl,-soname,{soname}", source)
    return _compile(build, tree, name, words, {**macros, "STANDIN_SONAME": soname})


def _compile(
    build: Build, tree: Path, name: str, words: Sequence[str], macros: Mapping[str, str]
) -> Path:
    defines = [f'-D{macro}="{value}"' for macro, value in macros.items()]
    # No shell is in between, so the quotes reach the compiler.
    build.chroot(
        tree,
        *("env", "--chdir=/src", "gcc", *FLAGS, *defines, *words, "-o", name),
    )
    return tree / "src" / name
