"""Which PCI devices a container's ``/dev/vfio/N`` stand for, by the rules of kata."""

import os
from typing import Any, NamedTuple

_GROUPS = "/sys/kernel/iommu_groups"
_BRIDGE = 0x0600  # kata's mask on the class; it covers more than bridges, NVSwitch (0680) too
_CONVENTIONAL = 256  # bytes of configuration; by their number kata tells PCI from PCI Express
_MOST_PORTS = 16  # kata's limit; more would use up the slots and windows of the root bus


class VfioError(Exception):
    """A device cannot be passed through; the text says why."""


class Device(NamedTuple):
    """A member of an IOMMU group, with vendor and device in hexadecimal.

    One that is not ``express`` is conventional PCI, which kata puts behind no port.
    """

    address: str
    group: str
    vendor: str
    device: str
    express: bool


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
        Device(
            address,
            group,
            _read(f"{folder}/{address}/vendor"),
            _read(f"{folder}/{address}/device"),
            os.stat(f"{folder}/{address}/config").st_size > _CONVENTIONAL,
        )
        for address in addresses
        if int(_read(f"{folder}/{address}/class"), 16) >> 8 & _BRIDGE != _BRIDGE
    ]
    if not found:
        raise VfioError(f"IOMMU group {group} has no device but bridges")
    return found


def plan(spec: dict[str, Any], port: str, sysfs: str = _GROUPS) -> list[Device]:
    """The functions that go with a container's machine, of which ``qemu`` plugs some.

    Raises VfioError when there are some and configuration.toml sets no port (kata's words), or
    more than root ports.
    """
    devices = [device for group in groups(spec) for device in members(group, sysfs)]
    if devices and not port:
        raise VfioError(
            "cold_plug_vfio= or hot_plug_vfio= port is not set for device "
            f"{devices[0].address} (BridgePort | RootPort | SwitchPort)"
        )
    ports = sum(device.express for device in devices)
    if ports > _MOST_PORTS:
        raise VfioError(f"{ports} devices exceed the allowed {_MOST_PORTS} PCIe root ports")
    return devices


def _read(path: str) -> str:
    with open(path, encoding="utf-8") as file:
        return file.read().strip()
