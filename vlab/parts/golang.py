"""Programs in Go, by ``go install``, as their users get them.

The Go is Debian's; its command needs no library, so it runs on this machine out of its packages,
and fetches with all that this machine has configured for Go (the environment, ``go env -w``,
proxies, certificates, .netrc). It compiles in a tree that has a C compiler, with what was fetched
and nothing else. A program is kept beside the images, since its module never changes.
"""

import hashlib
import shutil
from pathlib import Path

from vlab import debs, manifest
from vlab.build import Build
from vlab.packages import SUITE

FOLDER = "go"  # in the tree, and of the programs that are kept
ROOT = "usr/lib/go"  # Debian's GOROOT
PACKAGE = "golang-go"
# No path of the tree, no symbols; and a cache that can be removed.
FLAGS = ("-trimpath", "-modcacherw")
LINKED = "-s -w"


def program(build: Build, tree: Path, module: str, *, linked: str = "") -> Path:
    """The program of ``MODULE/PACKAGE@VERSION``; ``tree`` has a C compiler and its headers.

    ``linked`` are more words for Go's linker. Raises VlabError where a module cannot be fetched.
    """
    command = ("install", *FLAGS, f"-ldflags={LINKED} {linked}".strip(), module)
    name = module.partition("@")[0].rpartition("/")[2]
    made_of = repr((command, SUITE, build.arch.deb))
    kept = build.kept / FOLDER / f"{name}-{hashlib.sha256(made_of.encode()).hexdigest()[:16]}"
    if manifest.damage(kept):
        _keep(_compile(build, tree, command, name), kept)
    return kept / name


def _compile(build: Build, tree: Path, command: tuple[str, ...], name: str) -> Path:
    if not (tree / ROOT).exists():
        packages = build.work / "go-debs"
        debs.fetch(build, packages, PACKAGE)
        for deb in packages.glob("*.deb"):
            build.run("dpkg-deb", "--extract", deb, tree)
    # A rehearsal fetches all that it would compile.
    build.run("env", *_go(build, tree), "install", "-n", *command[1:])
    fetched = (f"GOPROXY=file:///{FOLDER}/pkg/mod/cache/download", "GOSUMDB=off", "GOENV=off")
    build.chroot(tree, "env", "-i", "PATH=/usr/bin", *fetched, *_go(build, Path("/")), *command)
    return tree / FOLDER / "bin" / name


def _go(build: Build, root: Path) -> tuple[str, ...]:
    """Go, behind what it must not take from this machine; ``root`` is the tree, seen by Go."""
    go = root / FOLDER
    return (
        *(f"GOROOT={root / ROOT}", f"GOPATH={go}", f"GOBIN={go / 'bin'}"),
        *(f"GOMODCACHE={go / 'pkg/mod'}", f"GOCACHE={go / 'cache'}"),
        *("GO111MODULE=on", "GOWORK=off", "GOTOOLCHAIN=local", "CGO_ENABLED=1"),
        *("GOOS=linux", f"GOARCH={build.arch.deb}", str(root / ROOT / "bin/go")),
    )


def _keep(made: Path, kept: Path) -> None:
    """Put a program where the next build finds it, whole or not at all."""
    partial = kept.with_name(f"{kept.name}.partial")
    for folder in (partial, kept):
        shutil.rmtree(folder, ignore_errors=True)
    partial.mkdir(parents=True)
    shutil.copy2(made, partial)
    manifest.write(partial)
    partial.rename(kept)
