"""A container's folder below ``--root``: what one invocation of the runtime leaves for the next."""

import json
import os
import signal
import time
from typing import Any

_CGROUPS = "/sys/fs/cgroup"
_SHARED = "/run/kata-containers/shared/sandboxes"


class StateError(Exception):
    """There is no such container, or it is in the wrong state for what was asked."""


class Container:
    """A container as its folder describes it. ``pid`` is its supervisor's, on the host."""

    def __init__(self, folder: str, about: dict[str, Any]) -> None:
        self.folder = folder
        self.id: str = about["id"]
        self.bundle: str = about["bundle"]
        self.created: str = about["created"]
        self.cgroup: str = about["cgroup"]
        self.netns: str = about.get("netns", "")
        self.pid: int = about.get("pid", 0)
        self.qemu: int = about.get("qemu", 0)
        self.cid: int = about.get("cid", 0)
        self.interfaces: list[dict[str, Any]] = about.get("interfaces", [])

    def save(self) -> None:
        """Write it down, whole or not at all."""
        path = f"{self.folder}/state.json"
        with open(f"{path}.new", "w", encoding="utf-8") as file:
            json.dump(vars(self), file)
        os.replace(f"{path}.new", path)

    @property
    def shared(self) -> str:
        """The folder that the machine sees; its mounts are in the supervisor's namespace only."""
        return f"{_SHARED}/{self.id}/shared"

    @property
    def started(self) -> bool:
        return os.path.exists(f"{self.folder}/started")

    def mark_started(self) -> None:
        with open(f"{self.folder}/started", "w", encoding="utf-8"):
            pass

    @property
    def alive(self) -> bool:
        """Whether the supervisor runs; a zombie that the shim has yet to reap does not."""
        try:
            with open(f"/proc/{self.pid}/stat", encoding="utf-8") as file:
                return file.read().rpartition(")")[2].split()[0] not in ("Z", "X")
        except OSError:
            return False

    @property
    def status(self) -> str:
        """In the words of the OCI runtime specification."""
        if not self.alive:
            return "stopped"
        return "running" if self.started else "created"

    def join_cgroup(self) -> None:
        """Put the calling process, and whatever it starts, into the container's cgroup."""
        if self.cgroup:
            os.makedirs(self.cgroup, exist_ok=True)
            with open(f"{self.cgroup}/cgroup.procs", "w", encoding="utf-8") as file:
                file.write("0")

    def kill_everything(self, timeout: float = 10) -> None:
        """Kill every process of the container on the host and wait until they are gone."""
        if self.cgroup and os.path.exists(f"{self.cgroup}/cgroup.kill"):
            with open(f"{self.cgroup}/cgroup.kill", "w", encoding="utf-8") as file:
                file.write("1")
        elif self.alive:
            os.kill(self.pid, signal.SIGKILL)  # QEMU and virtiofsd die with it
        deadline = time.monotonic() + timeout
        while (self.alive or self._populated()) and time.monotonic() < deadline:
            time.sleep(0.05)

    def _populated(self) -> bool:
        try:
            with open(f"{self.cgroup}/cgroup.events", encoding="utf-8") as file:
                return "populated 1" in file.read()
        except OSError:
            return False

    def forget(self) -> None:
        """Remove folder, shared folder and cgroup."""
        import shutil  # not before it is needed: every command is a process that starts slowly

        shutil.rmtree(os.path.dirname(self.shared), ignore_errors=True)
        if self.cgroup and os.path.isdir(self.cgroup):
            os.rmdir(self.cgroup)
        shutil.rmtree(self.folder)


def new(root: str, name: str, bundle: str, spec: dict[str, Any]) -> Container:
    """Claim a name; StateError if it is taken."""
    folder = _folder(root, name)
    try:
        os.makedirs(folder, mode=0o700)
    except FileExistsError as error:
        raise StateError(f"container with id exists: {name}") from error
    wanted = spec.get("linux", {}).get("cgroupsPath") or f"/kata/{name}"
    usable = os.path.exists(f"{_CGROUPS}/cgroup.controllers")
    about = {"id": name, "bundle": bundle}
    about["created"] = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    about["cgroup"] = f"{_CGROUPS}/{wanted.strip('/')}" if usable else ""
    return Container(folder, about)


def load(root: str, name: str) -> Container:
    """Read a container's state; StateError if there is no such container."""
    try:
        folder = _folder(root, name)
        with open(f"{folder}/state.json", encoding="utf-8") as file:
            return Container(folder, json.load(file))
    except FileNotFoundError as error:
        raise StateError(f"container does not exist: {name}") from error


def _folder(root: str, name: str) -> str:
    if not name or "/" in name or name in (".", ".."):
        raise StateError(f"'{name}' cannot name a container")
    return f"{root}/{name}"
