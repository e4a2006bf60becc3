"""The assigned devices: on the host in their IOMMU groups, and in the guest.

Nothing is drawn that the record does not have.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TypeVar

from harness.record.devices import GuestDevice, HostDevice
from harness.record.facts import Place
from reports.record.record import Record

D = TypeVar("D", HostDevice, GuestDevice)


@dataclass(frozen=True)
class Topology:
    """The host's devices by the number of their IOMMU group, and the guest's of the same models."""

    groups: Mapping[str, Sequence[HostDevice]]
    inner: Sequence[GuestDevice]


def topology(record: Record) -> Topology:
    """The topology, as far as the facts of the stages have it."""
    groups: dict[str, list[HostDevice]] = defaultdict(list)
    for device in _devices(record, "host devices", HostDevice):
        groups[device.group].append(device)
    return Topology(groups, _devices(record, "guest devices", GuestDevice))


def _devices(record: Record, place: Place, kind: type[D]) -> list[D]:
    """The devices that the record has for a place, reduced to the fields that are drawn."""
    listed = [device for one in record.shown if one.place == place for device in one.value]
    return [kind(**{f.name: device[f.name] for f in fields(kind)}) for device in listed]
