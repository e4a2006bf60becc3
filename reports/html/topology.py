"""What was passed through, and where it came out: host, IOMMU groups, the guest's devices.

Nothing is drawn that the record does not have.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from reports.record.record import Record

BRIDGE = "0604"  # PCI class
Model = tuple[str, str]  # vendor, device


@dataclass(frozen=True)
class Inner:
    """A device as the guest has it; `host` is its address there, '' where that is not known."""

    bdf: str
    model: Model
    name: str  # as nvidia-smi says it, or ''
    host: str
    port: str  # QEMU's id of the root port that it is behind, or ''


@dataclass(frozen=True)
class Member:
    """A device of an IOMMU group."""

    bdf: str
    model: Model
    driver: str
    bridge: bool


@dataclass(frozen=True)
class Topology:
    """IOMMU groups by number, and the guest's devices of the same models."""

    groups: Mapping[str, Sequence[Member]]
    inner: Sequence[Inner]


def of(record: Record) -> Topology:
    """As far as the stages `gpu` and `container` know it."""
    gpu, container = record.stage("gpu"), record.stage("container")
    groups: dict[str, list[Member]] = defaultdict(list)
    for device in gpu.facts.get("members", ()) if gpu else ():
        model = (str(device.get("vendor")), str(device.get("device")))
        bridge = str(device.get("pci_class", "")) == BRIDGE
        driver = str(device.get("driver") or "-")
        groups[str(device.get("group"))].append(Member(str(device["bdf"]), model, driver, bridge))
    members = [member for group in groups.values() for member in group]
    return Topology(groups, _inner(record, members, container.facts if container else {}))


def _inner(
    record: Record, members: Sequence[Member], container: Mapping[str, Any]
) -> Sequence[Inner]:
    """QEMU gives its devices addresses in the order in which it is told of them."""
    passed = _passed((container.get("machine") or {}).get("argv", ()))
    names = {_short(str(g.get("bus_id"))): str(g.get("name")) for g in _gpus(record)}
    models = {member.bdf: member.model for member in members}
    found = []
    for model in dict.fromkeys(models.values()):
        guests = [bdf for bdf, its in _listed(container.get("pci", ())) if its == model]
        hosts = [bdf for bdf in passed if models.get(bdf) == model]
        if len(guests) != len(hosts):
            hosts = []  # which is which, nobody can say
        for number, bdf in enumerate(guests):
            host = hosts[number] if hosts else ""
            found.append(Inner(bdf, model, names.get(bdf, ""), host, passed.get(host, "")))
    return found


def _passed(argv: Sequence[str]) -> dict[str, str]:
    """Addresses on the host, in the order of QEMU's options -> the bus that each is put on."""
    found = {}
    for word in argv:
        options = dict(part.partition("=")[::2] for part in str(word).split(","))
        if "vfio-pci" in options and options.get("host"):
            host = options["host"]
            found[host if host.count(":") == 2 else f"0000:{host}"] = options.get("bus", "")
    return found


def _listed(lines: Sequence[str]) -> list[tuple[str, Model]]:
    """`lspci -n` lines of the guest, in the order of their addresses."""
    matches = [re.match(r"(\S+) \S+: ([0-9a-f]{4}):([0-9a-f]{4})", str(line)) for line in lines]
    return sorted((m[1], (m[2], m[3])) for m in matches if m)


def _gpus(record: Record) -> Sequence[Mapping[str, Any]]:
    gpus: Sequence[Mapping[str, Any]] = record.facts.get("gpus", ())
    return gpus


def _short(bus_id: str) -> str:
    """nvidia-smi's `00000000:01:00.0` as lspci writes it."""
    return bus_id.partition(":")[2].lower()
