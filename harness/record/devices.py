"""The devices of a report's picture: assigned functions of the host, and those of the guest."""

from __future__ import annotations

from harness.record.facts import facts


@facts
class HostDevice:
    """A PCI function of the host; ids are four hex digits, `group` and `driver` '-' for none."""

    bdf: str
    vendor: str
    device: str
    pci_class: str
    group: str
    driver: str


@facts
class GuestDevice:
    """A PCI function of the guest, of the same model as an assigned device.

    `name`: nvidia-smi's, or ''. `host`: its address on the host, and `port`: QEMU's id of the root
    port that it is behind; both are '' where that is not known.
    """

    bdf: str
    vendor: str
    device: str
    name: str
    host: str
    port: str
