"""The hardware and software of a run, out of what its stages found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from reports.record.record import Record

# What it is -> where it is in the record: a stage's facts, a fact's value or the profile, and the
# keys within;
# the first path that leads to something holds, and a list is gone into item by item.
ITEMS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("Host", ("surroundings.hostname",)),
    ("Machine", ("surroundings.machine",)),
    ("Host kernel", ("platform.kernel",)),
    ("Architecture", ("platform.machine",)),
    ("Kernel command line", ("platform.command_line",)),
    ("Firmware", ("surroundings.firmware",)),
    ("CPU", ("surroundings.cpu",)),
    ("Memory", ("surroundings.memory",)),
    ("TEE", ("platform.tee",)),
    ("IOMMU units", ("platform.iommu_units",)),
    ("IOMMU groups", ("platform.iommu_groups",)),
    ("Docker", ("platform.docker",)),
    ("containerd", ("platform.containerd",)),
    ("QEMU", ("kata.effective.Hypervisor.Version",)),
    ("kata shim", ("platform.kata_shim",)),
    ("kata runtime", ("kata.runtime_version",)),
    ("CNI plugins", ("surroundings.cni",)),
    ("CNI archive", ("profile.network.archive.sha256",)),
    ("Guest kernel", ("container.guest_kernel", "rootfs.kernel_release")),
    ("Guest image", ("rootfs.image",)),
    ("NVIDIA driver", ("gpus.driver_version", "rootfs.driver_version")),
    ("NVIDIA driver installer", ("surroundings.driver",)),
    ("NVIDIA container toolkit", ("rootfs.packages.nvidia-container-toolkit",)),
    ("Container image", ("image.reference",)),
    ("Container image id", ("image.image_id",)),
    ("Container image digest", ("image.containerd.digest",)),
    ("Dockerfile", ("image.dockerfile_sha256",)),
    ("buildx", ("image.buildx",)),
    ("GPU", ("gpus.name",)),
    ("GPU UUID", ("gpus.uuid",)),
    ("GPU BDF on the host", ("gpu.devices.bdf", "gpu.bdf")),
    ("GPU PCIe link", ("surroundings.links",)),
    ("IOMMU group of the GPU", ("gpu.groups.number", "gpu.group")),
    ("Model server", ("model.version",)),
)


def inventory(record: Record) -> list[tuple[str, str]]:
    """(what, value) of everything that the run's stages know."""
    found = [
        (label, next(filter(None, (_look_up(record, path) for path in paths)), ""))
        for label, paths in ITEMS
    ]
    return [(label, value) for label, value in found if value]


def _look_up(record: Record, path: str) -> str:
    name, *keys = path.split(".")
    stage = record.stage(name)
    value: Any = stage.facts if stage else record.facts.get(name)
    if name == "profile":
        value = record.profile
    for key in keys:
        value = _within(value, key)
    return _text(value)


def _within(value: Any, key: str) -> Any:
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [found for item in value if (found := _within(item, key)) is not None]
    return value.get(key) if isinstance(value, Mapping) else None


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, Mapping):
        return ", ".join(f"{key}: {_text(item)}" for key, item in value.items())
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ", ".join(dict.fromkeys(_text(item) for item in value))
    return str(value).strip()
