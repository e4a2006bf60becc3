"""CNI on the lab host: cnitool, which the guide compiles of its module, and Debian's plugins."""

import shutil
from pathlib import Path

from vlab.build import Build
from vlab.errors import VlabError
from vlab.packages import CNITOOL
from vlab.parts import golang


def install(build: Build, compiler: Path) -> None:
    """Put cnitool where the guide does, and links to the plugins. Raises VlabError.

    ``compiler`` is a tree with a C compiler in it.
    """
    plugins = sorted((build.root / "usr/lib/cni").glob("*"))
    if not plugins:
        raise VlabError("the lab host has no CNI plugins: containernetworking-plugins is missing")
    target = build.root / "usr/local/bin"
    target.mkdir(parents=True, exist_ok=True)
    shutil.copy(golang.program(build, compiler, CNITOOL), target)
    folder = build.root / "opt/cni/bin"
    folder.mkdir(parents=True, exist_ok=True)
    for plugin in plugins:
        (folder / plugin.name).symlink_to(f"/usr/lib/cni/{plugin.name}")
