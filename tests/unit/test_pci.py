"""Which devices a profile means, and which ones the host itself lives on."""

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from fixtures.common import pci
from fixtures.common.pci import PciDevice
from fixtures.gpu import plugging, vfio
from fixtures.gpu.in_use import Disk, carriers, mounted
from fixtures.profile import GpuConfig
from harness.errors import LabError
from tests.unit.patience import PATIENCE

BRIDGE = PciDevice("0000:00:1c.0", "8086", "a110", "0604", "7", "pcieport")
CARD = PciDevice("0000:01:00.0", "10de", "20f1", "0302", "7", "nvidia")
SOUND = PciDevice("0000:01:00.1", "10de", "1aef", "0403", "7", "snd_hda_intel")
OTHER = PciDevice("0000:02:00.0", "10de", "20f1", "0302", "8", "-")
SWITCH = PciDevice("0000:03:00.0", "10de", "1af1", "0680", "8", "nvidia")
BUS = (BRIDGE, CARD, SOUND, OTHER, SWITCH)


def tabs(line: str) -> str:
    """A line of the listing: the ways to reset are one field."""
    return "\t".join(line.split(" ", 10))


@pytest.mark.case("PCI", "a driver whose name has blanks", source="Linux, cx88-mpeg.c")
def test_a_drivers_name_may_have_blanks() -> None:
    # Linux, drivers/media/pci/cx88/cx88-mpeg.c; not recorded.
    line = "10001:8a:00.2\t0x14f1\t0x8802\t0x048000\t0x0070\t0x9002\t9\t-\t%s\t(null)\tpm bus"
    device = pci.parse(line % "cx88-mpeg driver manager")
    assert (device.driver, device.override) == ("cx88-mpeg driver manager", "")
    assert (device.bdf, device.reset) == ("10001:8a:00.2", ("pm", "bus"))


def test_a_line_of_the_listing_is_read() -> None:
    device = pci.parse(
        tabs("0000:01:00.0 0x10de 0x20f1 0x030200 0x10de 0x145f 7 - nvidia (null) flr bus")
    )
    assert device == PciDevice(
        *("0000:01:00.0", "10de", "20f1", "0302", "7", "nvidia"),
        subsystem="10de:145f",
        reset=("flr", "bus"),
    )
    assert device.id == "10de:20f1"


def test_a_device_without_driver_group_and_reset_is_read() -> None:
    device = pci.parse(tabs("0000:00:10.0 0x1234 0x11e8 0x00ff00 0x1af4 0x1100 - - - vfio-pci "))
    assert (device.group, device.driver, device.override, device.reset) == (
        "-",
        "-",
        "vfio-pci",
        (),
    )


def test_a_gpu_is_found_by_vendor_and_class_and_not_by_name() -> None:
    assert pci.select(BUS, GpuConfig(), "lab") == (CARD,)


@pytest.mark.case("PCI", "virtual functions of a GPU (SR-IOV)", source="kubevirt #16890")
def test_a_virtual_function_is_no_gpu_unless_it_is_named() -> None:
    line = "0000:01:00.4 0x10de 0x20f1 0x030200 0x10de 0x145f 9 0000:01:00.0 nvidia (null) flr"
    part = pci.parse(tabs(line))
    assert part.physical == "0000:01:00.0"
    assert pci.select((*BUS, part), GpuConfig(count="all"), "lab") == (CARD, OTHER)
    assert pci.select((*BUS, part), GpuConfig(bdf=(part.bdf,)), "lab") == (part,)
    with pytest.raises(LabError, match=r"but virtual functions: 0000:01:00\.4") as caught:
        pci.select((BRIDGE, part), GpuConfig(), "lab")
    assert "gpu.bdf" in (caught.value.hint or "")


def test_several_gpus_are_found_by_count() -> None:
    assert pci.select(BUS, GpuConfig(count=2), "lab") == (CARD, OTHER)
    assert pci.select(BUS, GpuConfig(count="all"), "lab") == (CARD, OTHER)


def test_gpus_can_be_named_by_their_address() -> None:
    wanted = GpuConfig.model_validate_json('{"bdf": "0000:02:00.0"}')
    assert pci.select(BUS, wanted, "lab") == (OTHER,)
    both = GpuConfig.model_validate_json('{"bdf": ["0000:02:00.0", "0000:01:00.0"]}')
    assert pci.select(BUS, both, "lab") == (CARD, OTHER)


def test_the_whole_group_but_its_bridges_is_bound() -> None:
    assert pci.members(BUS, [CARD]) == (CARD, SOUND)


def test_an_nvswitch_is_no_bridge() -> None:
    assert pci.members(BUS, [OTHER]) == (OTHER, SWITCH)


def test_nvswitches_may_be_named_beside_gpus_and_not_alone() -> None:
    wanted = GpuConfig(bdf=(OTHER.bdf, SWITCH.bdf))
    assert pci.select(BUS, wanted, "lab") == (OTHER, SWITCH)
    with pytest.raises(LabError, match="selects NVSwitches alone") as caught:
        pci.select(BUS, GpuConfig(bdf=(SWITCH.bdf,)), "lab")
    assert "the GPUs that it joins" in (caught.value.hint or "")


def cards(count: int, group: str = "") -> list[PciDevice]:
    """GPUs of one model, each in a group of its own or all of them in one."""
    return [
        PciDevice(f"0000:{bus:02x}:00.0", "10de", "20f1", "0302", group or str(bus), "-")
        for bus in range(16, 16 + count)
    ]


def hindered(*functions: PciDevice, chosen: Sequence[PciDevice] = ()) -> list[str]:
    """What keeps kata from plugging all of them, each error as one text."""
    found = plugging.obstacles(functions, chosen or functions)
    return [f"{error.message} {error.hint} [{error.clause}]" for error in found]


def test_fourteen_gpus_of_groups_of_their_own_are_all_plugged() -> None:
    assert pci.select(cards(14), GpuConfig(count="all"), "lab") == (*cards(14),)
    assert hindered(*cards(14)) == []


@pytest.mark.case(
    "kata",
    "more functions than kata has ports for",
    source="kata-containers CC-0.8.0 and 3.15.0, qemu.go; virtCCA_sdk kata-v3.15.0, SR-IOV",
)
def test_more_functions_than_kata_has_ports_for_are_told() -> None:
    assert hindered(*cards(plugging.MOST_PORTS)) == []
    [says] = hindered(*cards(17))
    assert "17 functions go with the 17 devices that are selected" in says
    assert "16 ports for them at most" in says
    assert "14 are left" in says


def test_a_gpu_that_is_not_the_first_function_of_its_group_is_told() -> None:
    first, second = cards(2, group="7")
    assert hindered(first, second, chosen=[first]) == []
    [says] = hindered(first, second, chosen=[second])
    assert says.startswith("0000:11:00.0 would go to VFIO and to no guest: of IOMMU group 7 kata")
    assert says.endswith("[container.device]")
    assert hindered(first, second)[0].startswith("0000:11:00.0 would go")
    assert hindered(CARD, SOUND, chosen=[CARD]) == []


@pytest.mark.case(
    "PCI", "all NVSwitches of a board in one IOMMU group", source="bigstack-oss/cubecos #259"
)
def test_of_nvswitches_in_one_group_the_others_are_told() -> None:
    switches = [PciDevice(f"0000:0{n}:00.0", "10de", "22a3", "0680", "114", "-") for n in (5, 6, 7)]
    [says] = hindered(*switches, *cards(8))
    assert "0000:06:00.0, 0000:07:00.0 would go to VFIO" in says
    assert "kata plugs 0000:05:00.0" in says
    assert "NVSwitches may stay with the host" in says


def test_an_nvswitch_that_stays_behind_is_a_finding() -> None:
    [finding] = plugging.left_behind(BUS, pci.members(BUS, [CARD]))
    assert (finding.id, finding.severity) == ("gpu.nvswitch", "medium")
    assert "NVSwitches of the host go to no guest: 0000:03:00.0." in finding.text
    assert [*plugging.left_behind(BUS, pci.members(BUS, [OTHER]))] == []
    assert [*plugging.left_behind((CARD, SOUND), (CARD,))] == []


def test_no_gpu_is_an_error_that_says_what_was_looked_for() -> None:
    with pytest.raises(LabError, match="vendor 10de, class 0300 or 0302") as caught:
        pci.select((BRIDGE, SOUND), GpuConfig(), "lab")
    assert "lspci" in str(caught.value)


@pytest.mark.parametrize(
    "wanted", [GpuConfig(count=3), GpuConfig(bdf=("0000:01:00.0", "0000:99:00.0"))]
)
def test_too_few_gpus_are_an_error_that_names_those_that_are_there(wanted: GpuConfig) -> None:
    with pytest.raises(LabError, match=r"GPUs are to be passed through.*0000:01:00\.0"):
        pci.select(BUS, wanted, "lab")


def test_a_gpu_without_a_group_is_refused() -> None:
    lone = PciDevice("0000:01:00.0", "10de", "20f1", "0302", "-", "-")
    with pytest.raises(LabError, match="in no IOMMU group"):
        pci.select((lone,), GpuConfig(), "lab")


@pytest.mark.case("PCI", "domains of five digits (Intel's VMD)", source="ghw #372")
def test_every_function_on_the_way_to_a_disk_is_vital() -> None:
    located = (
        "block/nvme0n1 /sys/devices/virtual/nvme-subsystem/nvme-subsys0/nvme0n1\n"
        "block/nvme0n1 /sys/devices/pci0000:00/0000:00:1d.0/0000:05:00.0/nvme/nvme0\n"
        "net/bond0 /sys/devices/virtual/net/bond0\n"
        "net/bond0 /sys/devices/pci0000:80/0000:81:00.1/net/eth1\n"
    )
    # Intel's VMD has domains of five digits (as in ghw #372).
    located += (
        "block/sda /sys/devices/pci0000:00/0000:00:0e.0/pci10001:80/10001:81:00.0/nvme/nvme1\n"
    )
    why = {"block/nvme0n1": "disk", "net/bond0": "network", "block/sda": "other"}
    assert carriers(why, located) == {
        "0000:00:1d.0": "disk",
        "0000:05:00.0": "disk",
        "0000:81:00.1": "network",
        "0000:00:0e.0": "other",
        "10001:81:00.0": "other",
    }


def test_mounts_below_a_disk_are_found() -> None:
    root = {"name": "vg-root", "kname": "dm-0", "mountpoint": "/"}
    swap = {"kname": "sda1", "mountpoint": "[SWAP]"}
    volume = {"kname": "sda2", "mountpoint": None, "children": [root]}
    disk = Disk.model_validate({"kname": "sda", "mountpoint": None, "children": [swap, volume]})
    assert mounted(disk) == {"/", "[SWAP]"}
    assert mounted(Disk(kname="sdb")) == set()


def test_a_vital_device_is_refused_by_name() -> None:
    vfio.refuse_in_use([])
    with pytest.raises(LabError, match=r"0000:05:00\.0: disk nvme0n1 with /"):
        vfio.refuse_in_use(["0000:05:00.0: disk nvme0n1 with /"])


@pytest.fixture
def bus(tmp_path: Path) -> Path:
    """A folder as sysfs has it: device 0000:01:00.0 bound to nvidia."""
    device, driver = tmp_path / "devices" / "0000:01:00.0", tmp_path / "drivers" / "nvidia"
    device.mkdir(parents=True)
    driver.mkdir(parents=True)
    (device / "driver").symlink_to(driver)
    (tmp_path / "drivers_probe").touch()
    return tmp_path


def rebind(bus: Path, driver: str, patience: float = PATIENCE) -> subprocess.CompletedProcess[str]:
    argv = vfio.rebind_argv("0000:01:00.0", driver, driver, patience=patience, bus=str(bus))
    return subprocess.run(argv, capture_output=True, text=True, timeout=PATIENCE)


def test_a_device_that_has_its_driver_is_left_with_it(bus: Path) -> None:
    assert rebind(bus, "nvidia").returncode == 0
    assert (bus / "devices/0000:01:00.0/driver_override").read_text() == "nvidia\n"


def test_a_driver_that_never_lets_go_does_not_take_us_along(bus: Path) -> None:
    unbind = bus / "drivers" / "nvidia" / "unbind"
    os.mkfifo(unbind)  # opening it to write waits for a reader
    done = rebind(bus, "vfio-pci", patience=0.2)
    os.close(os.open(unbind, os.O_RDONLY | os.O_NONBLOCK))  # lets the child go
    assert done.returncode == 1
    assert "nvidia still has 0000:01:00.0" in done.stderr
    assert "has not come back after 0.2 s" in done.stderr


def test_a_driver_that_refuses_is_named(bus: Path) -> None:
    (bus / "drivers" / "nvidia" / "unbind").touch()  # takes what is written, and does nothing
    done = rebind(bus, "vfio-pci")
    assert done.returncode == 1
    assert "0000:01:00.0 is bound to nvidia, it should be bound to vfio-pci" in done.stderr
