"""cnitool and the CNI plugins of the lab host.

Stands for the ``cnitool`` that the guide compiles from github.com/containernetworking/cni, which
Debian does not carry. Real: the plugins, which are Debian's own. Not real: ``cnitool`` itself,
written anew from the CNI specification and libcni's behaviour; its own header says what differs.
"""

import shutil
from pathlib import Path

from vlab.build import Build
from vlab.errors import VlabError

TOOL = Path(__file__).parent / "cnitool"


def install(build: Build) -> None:
    """Put cnitool where the guide does, and links to the plugins. Raises VlabError."""
    plugins = sorted((build.root / "usr/lib/cni").glob("*"))
    if not plugins:
        raise VlabError("the lab host has no CNI plugins: containernetworking-plugins is missing")
    target = build.root / "usr/local/bin/cnitool"
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(TOOL, target)
    target.chmod(0o755)
    folder = build.root / "opt/cni/bin"
    folder.mkdir(parents=True, exist_ok=True)
    for plugin in plugins:
        (folder / plugin.name).symlink_to(f"/usr/lib/cni/{plugin.name}")
