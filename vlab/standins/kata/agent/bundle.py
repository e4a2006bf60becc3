"""What the guest knows of a container between requests: its bundle, its first process."""

import json
import os
import socket
from typing import Any

from ..wire import GUEST_SHARED, SHARED_TAG, PeerError
from . import network, syscalls
from .hooks import Settings

ROOT = "/run/kata-containers"


def folder(name: str) -> str:
    """The bundle of a container; PeerError for a name that is no plain file name."""
    if not name or "/" in name or name in (".", "..", "shared"):
        raise PeerError(f"'{name}' cannot name a container")
    return f"{ROOT}/{name}"


def sandbox(request: dict[str, Any]) -> dict[str, Any]:
    """Set up the machine for its container: shared folder, network, name."""
    os.makedirs(GUEST_SHARED, exist_ok=True)
    if not os.path.ismount(GUEST_SHARED):
        syscalls.mount(SHARED_TAG, GUEST_SHARED, "virtiofs")
    network.configure(request["interfaces"])
    if request.get("hostname"):
        socket.sethostname(request["hostname"])
    with open(f"{ROOT}/sandbox.json", "w", encoding="utf-8") as file:
        json.dump(request["hooks"], file)
    return {}


def make(request: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Bind the shared root into a new bundle and write its config.json, without VFIO nodes.

    Returns the bundle's path and the specification that the container is made from.
    """
    bundle, spec = folder(request["id"]), request["spec"]
    root = f"{bundle}/rootfs"
    os.makedirs(root)
    source = f"{GUEST_SHARED}/{request['rootfs']}"
    syscalls.mount(source, root, "", syscalls.MS_BIND | syscalls.MS_REC)
    spec["root"]["path"] = root
    linux = spec.setdefault("linux", {})
    linux["devices"] = [
        device for device in linux.get("devices", []) if not device["path"].startswith("/dev/vfio")
    ]
    with open(f"{bundle}/config.json", "w", encoding="utf-8") as file:
        json.dump(spec, file)
    return bundle, spec


def state(name: str, pid: int, status: str) -> dict[str, Any]:
    """The OCI state that a hook gets on its standard input."""
    about = {"ociVersion": "1.0.2", "id": name, "status": status, "bundle": folder(name)}
    return {**about, "pid": pid}


def remember(name: str, pid: int) -> None:
    """Note the first process, for the sessions to come."""
    with open(f"{folder(name)}/pid", "w", encoding="utf-8") as file:
        file.write(str(pid))


def pid(name: str) -> int:
    """The first process of a container; PeerError if there is no such container."""
    try:
        with open(f"{folder(name)}/pid", encoding="utf-8") as file:
            return int(file.read())
    except FileNotFoundError as error:
        raise PeerError(f"container '{name}' does not exist in the guest") from error


def hook_settings() -> Settings:
    """How guest hooks are run, as the host has said."""
    with open(f"{ROOT}/sandbox.json", encoding="utf-8") as file:
        return Settings(**json.load(file))


def members(first: int) -> list[int]:
    """Every process in the pid namespace of a process."""
    names = [int(name) for name in os.listdir("/proc") if name.isdigit()]
    return [number for number in names if _space(number) == _space(first)]


def _space(pid: int) -> str:
    try:
        return os.readlink(f"/proc/{pid}/ns/pid")
    except OSError:
        return ""
