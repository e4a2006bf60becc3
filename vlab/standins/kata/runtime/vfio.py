"""Which PCI devices a container's ``/dev/vfio/N`` stand for, by the rules of kata."""

import os
from typing import Any, NamedTuple

_GROUPS = "/sys/kernel/iommu_groups"
_BRIDGE = 0x0600  # kata's mask on the class; it covers more than bridges, NVSwitch (0680) too
_MOST_PORTS = 16  # kata's limit; more would use up the slots and windows of the root bus


class VfioError(Exception):
    """A device cannot be passed through; the text says why."""


class Device(NamedTuple):
    """A member of an IOMMU group that the machine gets."""

    address: str
    group: str


def groups(spec: dict[str, Any]) -> list[str]:
    """The IOMMU groups among a container's devices, in their order, each once."""
    found: dict[str, None] = {}
    for device in spec.get("linux", {}).get("devices") or []:
        folder, _, name = device["path"].rpartition("/")
        if folder == "/dev/vfio" and name.isdigit():
            found[name] = None
    return list(found)


def members(group: str, sysfs: str = _GROUPS) -> list[Device]:
    """Every device of a group but bridges; VfioError if there is none."""
    folder = f"{sysfs}/{group}/devices"
    try:
        addresses = sorted(os.listdir(folder))
    except OSError as error:
        raise VfioError(f"/dev/vfio/{group} names an IOMMU group that does not exist") from error
    found = [
        Device(address, group)
        for address in addresses
        if not _is_bridge(f"{folder}/{address}/class")
    ]
    if not found:
        raise VfioError(f"IOMMU group {group} has no device but bridges")
    return found


def plan(spec: dict[str, Any], port: str, sysfs: str = _GROUPS) -> list[Device]:
    """The devices that a container's machine gets.

    Raises VfioError when there are some and configuration.toml sets no port (kata's words), or
    more than root ports.
    """
    devices = [device for group in groups(spec) for device in members(group, sysfs)]
    if devices and not port:
        raise VfioError(
            "cold_plug_vfio= or hot_plug_vfio= port is not set for device "
            f"{devices[0].address} (BridgePort | RootPort | SwitchPort)"
        )
    if len(devices) > _MOST_PORTS:
        raise VfioError(f"{len(devices)} devices exceed the allowed {_MOST_PORTS} PCIe root ports")
    return devices


def _is_bridge(class_file: str) -> bool:
    with open(class_file, encoding="utf-8") as file:
        number = int(file.read(), 16) >> 8
    return number & _BRIDGE == _BRIDGE
