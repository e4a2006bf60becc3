"""kata's stand-in: containers that are virtual machines.

Stands for: the kata runtime (shim, kata-runtime, configuration.toml) and the agent in its guest.
Real: a machine of its own for each container, booted from the kernel and image that
configuration.toml names; VFIO devices behind root ports, whole IOMMU groups; kata's tcfilter
network; the root shared by virtio-fs; the agent as the guest's init, its guest hooks, its log.
Not real: the wire protocol, confidential anything, hot plug, one container a machine; a guest hook
has kata's 10 s and, where the machine is slow to boot, more; no wait for a guest that has died.
What the harness reads of it is as CC-0.8.0 has it, or 3.15.0 (``runtime.release``), and is held
against recordings of both by tests/unit/test_contract_kata.py.
The parts: ``runtime`` runs on the host, ``agent`` in the guest, ``wire`` on both.
"""

import os
import shutil
from pathlib import Path

from vlab.build import Build

_SOURCES = Path(__file__).parent
_LIBEXEC = "usr/libexec/kata-standin"
_AGENT_LIB = "usr/lib/kata-standin"
_PACKAGE = "kata_standin"


def install(build: Build) -> None:
    """Put the runtime into the lab's tree and the agent into the guest's."""
    _install_runtime(build)
    _install_agent(build)


def _install_runtime(build: Build) -> None:
    root, libexec = build.root, build.root / _LIBEXEC
    _package(libexec, "runtime")
    for name in ("runc", "supervisor"):
        _script(name, libexec / name)
    for name in ("containerd-shim-kata-v2", "kata-runtime"):
        _script(name, root / "usr/local/bin" / name)
    shim = libexec / "shim/containerd-shim-kata-v2"
    shim.parent.mkdir(exist_ok=True)
    shim.unlink(missing_ok=True)
    os.link(root / "usr/bin/containerd-shim-runc-v2", shim)
    settings = root / "etc/kata-containers/configuration.toml"
    settings.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(_SOURCES / "configuration.toml", settings)
    build.chroot(root, "python3", "-m", "compileall", "-q", f"/{_LIBEXEC}")


def _install_agent(build: Build) -> None:
    _package(build.guest / _AGENT_LIB, "agent")
    _script("kata-agent", build.guest / "usr/bin/kata-agent")
    build.chroot(build.guest, "python3", "-m", "compileall", "-q", f"/{_AGENT_LIB}")


def _package(folder: Path, part: str) -> None:
    """One part and what both parts share, as a package of their own."""
    target = folder / _PACKAGE
    target.mkdir(parents=True, exist_ok=True)
    (target / "__init__.py").touch()
    shutil.copyfile(_SOURCES / "wire.py", target / "wire.py")
    shutil.rmtree(target / part, ignore_errors=True)
    skip = shutil.ignore_patterns("__pycache__")
    shutil.copytree(_SOURCES / part, target / part, ignore=skip)


def _script(name: str, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(_SOURCES / "bin" / name, target)
    target.chmod(0o755)
