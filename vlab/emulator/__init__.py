"""QEMU out of the image's own packages, with exactly the libraries that it loads.

So every host runs the same QEMU whatever it has installed, and none of its firmware is needed.
"""

import shutil
from pathlib import Path

from vlab.build import Build

HERE = Path(__file__).parent
PRELOADED = "narrow.so"


def install(build: Build, compiler: Path, folder: Path) -> None:
    """Put the emulator into ``folder``; ``compiler`` is a tree with a C compiler in it."""
    for name in ("bin", "lib", "firmware"):
        (folder / name).mkdir(parents=True)
    loader = build.arch.loader
    for program in (build.arch.emulator, "qemu-img"):
        shutil.copy2(build.root / "usr/bin" / program, folder / "bin")
        listing = build.chroot(build.root, f"/{loader}", "--list", f"/usr/bin/{program}")
        for line in listing.splitlines():
            _, arrow, rest = line.partition("=> /")
            if arrow:
                library = Path(rest.split(" (")[0])
                source = (build.root / library).resolve()
                shutil.copy2(source, folder / "lib" / library.name)
    shutil.copy2((build.root / loader).resolve(), folder / "ld.so")
    for share in build.arch.firmware:
        shutil.copytree(
            build.root / "usr/share" / share,
            folder / "firmware",
            dirs_exist_ok=True,
            ignore_dangling_symlinks=True,
        )
    shutil.copy2(HERE / "narrow.c", compiler / "src")
    words = ("-O2", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-o", PRELOADED, "narrow.c")
    build.chroot(compiler, "env", "--chdir=/src", "gcc", *words)
    shutil.copy2(compiler / "src" / PRELOADED, folder / "lib")


def command(folder: Path, program: str) -> list[str]:
    """The command line that starts a QEMU program out of ``folder``."""
    library = folder / "lib" / PRELOADED
    return [
        *(str(folder / "ld.so"), "--preload", str(library)),
        *("--library-path", str(folder / "lib"), str(folder / "bin" / program)),
    ]
