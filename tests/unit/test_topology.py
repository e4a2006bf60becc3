"""What the picture of the devices may say: what was seen, and no more."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from fixtures.common.pci import PciDevice
from fixtures.container.assigned import guest_devices
from fixtures.container.nvidia_smi import SmiGpu
from fixtures.container.qemu import QemuProcess
from harness.record.devices import GuestDevice
from harness.record.facts import drawn, facts
from reports.html import figures
from reports.texts.texts import translator
from tests.unit import records

ONE = PciDevice("0000:41:00.0", "10de", "2331", "0302", "40", "vfio-pci")
TWO = PciDevice("0000:81:00.0", "10de", "2331", "0302", "57", "vfio-pci")
PLUGGED = (("0000:41:00.0", "rp1"), ("0000:81:00.0", "rp0"))
INSIDE = ["00:06.0 0604: 1b36:000c", "02:00.0 0302: 10de:2331", "01:00.0 0302: 10de:2331 (rev a1)"]


@facts
class Devices:
    """What the stages tell of devices."""

    host: Sequence[PciDevice] = drawn("host devices")
    guest: Sequence[GuestDevice] = drawn("guest devices")


def _inner(*hosts: str, smi: Sequence[SmiGpu] = ()) -> Sequence[GuestDevice]:
    """The guest's devices, where QEMU was told of these of the host in this order."""
    words = [("-device", f"vfio-pci,host={bdf},bus=rp{n}") for n, bdf in enumerate(hosts)]
    qemu = QemuProcess(1, ("qemu", *(word for pair in words for word in pair)), ())
    return guest_devices((ONE, TWO), qemu, INSIDE, smi)


def _picture(folder: Path, guest: Sequence[GuestDevice]) -> str:
    run = records.write(folder, facts={"devices": Devices((ONE, TWO), guest)})
    return figures.topology(run, translator("en")).replace("&#160;", " ")


def test_two_cards_of_one_model_are_told_apart() -> None:
    """By the order in which QEMU was told of them, not by what they are."""
    smi = SmiGpu(None, "H100", None, "00000000:02:00.0", *(None, None, None, None, None))
    found = _inner("81:00.0", "0000:41:00.0", smi=[smi])  # with and without its domain
    assert [(one.bdf, one.host, one.port, one.name) for one in found] == [
        ("01:00.0", "0000:81:00.0", "rp0", ""),
        ("02:00.0", "0000:41:00.0", "rp1", "H100"),
    ]


def test_the_guests_order_is_that_of_the_ports() -> None:
    ports = [("-device", f"pcie-root-port,id=rp{n},chassis=0,slot={n}") for n in (0, 1)]
    cards = [("-device", f"vfio-pci,host={bdf},bus={bus}") for bdf, bus in PLUGGED]
    qemu = QemuProcess(1, ("qemu", *(word for pair in [*ports, *cards] for word in pair)), ())
    found = guest_devices((ONE, TWO), qemu, INSIDE, ())
    assert [(one.bdf, one.host, one.port) for one in found] == [
        ("01:00.0", "0000:81:00.0", "rp0"),
        ("02:00.0", "0000:41:00.0", "rp1"),
    ]


def test_what_cannot_be_paired_is_not(tmp_path: Path) -> None:
    found = _inner("0000:81:00.0")
    assert [(one.host, one.port) for one in found] == [("", ""), ("", "")]
    assert found == guest_devices((ONE, TWO), None, INSIDE, ())
    picture = _picture(tmp_path / "run", found)
    assert picture.count("which one it is, the record does not say") == 2
    assert "root port" not in picture


def test_every_group_has_a_box(tmp_path: Path) -> None:
    picture = _picture(tmp_path / "run", _inner("81:00.0", "0000:41:00.0"))
    for said in ("IOMMU group 40", "IOMMU group 57", "10de:2331  vfio-pci", "root port rp0"):
        assert said in picture
    assert "40, 57" not in picture


def test_nothing_known_is_no_picture(tmp_path: Path) -> None:
    assert figures.topology(records.write(tmp_path / "run"), translator("en")) == ""
