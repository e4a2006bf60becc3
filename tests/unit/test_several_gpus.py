"""1, 2, 4 and 14 GPUs, of one function and of two: what kata's rules plug, the suites accept.

QEMU's command line is that of kata's stand-in, which follows kata's code and is held against its
recordings (`test_contract_kata`).
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from fixtures.common.pci import PciDevice
from fixtures.container import nvidia_smi
from fixtures.container.assigned import guest_devices
from fixtures.container.qemu import QemuProcess
from fixtures.gpu import plugging
from suites import test_container as suite
from tests.unit.test_judgements import told
from vlab.standins.kata.runtime import qemu, release
from vlab.standins.kata.runtime.vfio import Device

KINDS = (("20f1", "0302"), ("1aef", "0403"))  # an A100's GPU, and a sound function
NOBODY: Any = None


def cards(count: int, functions: int) -> list[PciDevice]:
    """Cards of one model, each in an IOMMU group of its own with all its functions."""
    return [
        PciDevice(f"0000:{64 + card:02x}:00.{n}", "10de", *KINDS[n], str(card), "vfio-pci")
        for card in range(count)
        for n in range(functions)
    ]


def container(members: list[PciDevice], version: str) -> Any:
    """A container that was given all of these groups, as the suite knows it."""
    plan: Any = SimpleNamespace(
        devices=[Device(m.bdf, m.group, m.vendor, m.device, True) for m in members],
        release=next(one for one in release.RELEASES.values() if one.name == version),
    )
    nodes = tuple(dict.fromkeys(f"/dev/vfio/{m.group}" for m in members))
    machine = QemuProcess(7, ("qemu-system-x86_64", *qemu._devices(plan)), nodes)
    # A bus for each port, in their order, those with nothing behind them as well.
    buses = [n for n, m in enumerate(members, 1) if machine.vfio(m.bdf)]
    line = "550.127.08, NVIDIA A100, GPU-{0}, 00000000:{0:02X}:00.0, 0x20F110DE, 40960, 0"
    smi = tuple(nvidia_smi.parse(line.format(bus)) for bus in buses)
    lspci = tuple(f"{bus:02x}:00.0 0302: 10de:20f1 (rev a1)" for bus in buses)
    return SimpleNamespace(
        machine=machine,
        pci=lspci,
        smi=SimpleNamespace(gpus=smi, meaning=""),
        devices=guest_devices(members, machine, lspci, smi),
    )


def given(members: list[PciDevice]) -> Any:
    """What the stage `gpu` tells of them."""
    gpus = [m for m in members if m.pci_class == "0302"]
    nodes = dict.fromkeys(m.group for m in members)
    return SimpleNamespace(
        devices=gpus,
        switches=(),
        members=members,
        groups=[SimpleNamespace(number=n, node=f"/dev/vfio/{n}") for n in nodes],
    )


@pytest.mark.parametrize("version", ["CC-0.8.0", "3.15.0"])
@pytest.mark.parametrize(
    ("count", "functions"), [(1, 1), (2, 1), (4, 1), (14, 1), (1, 2), (4, 2), (8, 2)]
)
def test_every_gpu_is_in_the_guest(count: int, functions: int, version: str) -> None:
    members = cards(count, functions)
    gpu, found = given(members), container(members, version)
    assert not [*plugging.obstacles(members, gpu.devices)]
    suite.test_machine_holds_every_group(found, gpu)
    suite.test_machine_has_every_gpu(found, gpu)
    suite.test_every_device_is_behind_a_port(found, gpu, NOBODY)
    suite.test_devices_on_the_guests_bus_are_the_assigned_ones(found, gpu)
    suite.test_nvidia_smi_lists_every_gpu(found, gpu)
    suite.test_nvidia_smi_lists_the_assigned_devices(found, gpu)
    assert [device.host for device in found.devices] == [one.bdf for one in gpu.devices]
    assert {device.name for device in found.devices} == {"NVIDIA A100"}


@pytest.mark.parametrize("lost", [0, 2, 3])
def test_a_gpu_that_is_lost_is_told_by_its_address_on_the_host(lost: int) -> None:
    members = cards(4, 2)
    gpu, found = given(members), container(members, "CC-0.8.0")
    found.smi.gpus = tuple(one for n, one in enumerate(found.smi.gpus) if n != lost)
    said = told(suite.test_nvidia_smi_lists_every_gpu, found, gpu)
    assert "4 GPUs were passed through, nvidia-smi lists 3" in said
    assert f"it lists all but {gpu.devices[lost].bdf} (" in said


def test_a_group_that_was_not_given_is_told() -> None:
    members = cards(4, 1)
    found = container(members[:3], "CC-0.8.0")
    assert "/dev/vfio/3" in told(suite.test_machine_holds_every_group, found, given(members))
    assert f"QEMU has no {members[3].bdf}" in told(
        suite.test_machine_has_every_gpu, found, given(members)
    )
