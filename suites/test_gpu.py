"""The GPUs belong to vfio-pci, and their whole IOMMU groups with them."""

import pytest

from fixtures.common import pci
from fixtures.gpu.stage import Gpu
from fixtures.profile import Profile
from harness.host.host import Host
from harness.run.stage import Run

pytestmark = [pytest.mark.acceptance, pytest.mark.gpu, pytest.mark.order(50)]


@pytest.mark.clause("gpu.present")
def test_selected_devices_are_the_ones_that_the_profile_means(gpu: Gpu, profile: Profile) -> None:
    wanted = profile.gpu
    if wanted.bdf:
        assert {d.bdf for d in gpu.devices} == set(wanted.bdf)
        return
    if wanted.count != "all":
        assert len(gpu.devices) == wanted.count, (
            f"gpu.count is {wanted.count}, and {len(gpu.devices)} devices were selected"
        )
    others = [
        f"{d.bdf} ({d.id}, class {d.pci_class})" for d in gpu.devices if not pci.fits(d, wanted)
    ]
    assert not others, (
        f"selected, though not of vendor {wanted.vendor} and class {' or '.join(wanted.classes)}: "
        f"{', '.join(others)}. A GPU's audio, USB or switch function is no GPU"
    )


@pytest.mark.clause("gpu.bind")
def test_every_gpu_is_bound_to_vfio_pci(gpu: Gpu, host: Host) -> None:
    for device in gpu.devices:
        driver = host.infra.file(f"/sys/bus/pci/devices/{device.bdf}/driver")
        assert driver.is_symlink, (
            f"{device.bdf} has no driver at all: is the module vfio-pci loaded ('lsmod')?"
        )
        assert driver.linked_to.endswith("/vfio-pci"), (
            f"{device.bdf} is bound to {driver.linked_to}, not to vfio-pci: its old driver was "
            "not unbound, or took it again; see dmesg.txt in the evidence"
        )


@pytest.mark.clause("gpu.bind")
def test_override_keeps_other_drivers_away(gpu: Gpu, host: Host) -> None:
    loose = {m.bdf: m.override for m in gpu.members if m.override != "vfio-pci"}
    assert not loose, (
        f"driver_override is not 'vfio-pci' but {loose}: the next probe of the bus may give these "
        "back to their drivers. The guide's gpu.sh sets it on the GPU alone"
    )


@pytest.mark.clause("gpu.group")
def test_group_is_the_devices_own(gpu: Gpu, host: Host) -> None:
    for device in gpu.devices:
        link = host.infra.file(f"/sys/bus/pci/devices/{device.bdf}/iommu_group")
        assert link.linked_to == f"/sys/kernel/iommu_groups/{device.group}", (
            f"{device.bdf} was taken for a member of group {device.group}, sysfs says "
            f"{link.linked_to}; a group's number is of one machine and one boot (the guide's 81)"
        )


@pytest.mark.clause("gpu.group")
def test_no_member_is_left_to_another_driver(gpu: Gpu, host: Host) -> None:
    everything = pci.devices(host)
    for group in gpu.groups:
        now = [d for d in everything if d.group == group.number and not d.is_bridge]
        others = {d.bdf: d.driver for d in now if d.driver not in ("vfio-pci", "-")}
        assert now, f"IOMMU group {group.number} has no members"
        assert not others, (
            f"IOMMU group {group.number} is shared with host drivers: {others}. All of a group is "
            "passed through or none of it: a card without ACS upstream shares its group"
        )


@pytest.mark.clause("gpu.node")
def test_every_group_has_its_node(gpu: Gpu, host: Host) -> None:
    for group in gpu.groups:
        there = host.run("test", "-c", group.node, ok=(0, 1)).rc == 0
        assert there, (
            f"{group.node} is no device node. /dev/vfio/vfio alone proves nothing: the guide's "
            "'ls /dev/vfio' shows it with or without a bound device"
        )


@pytest.mark.clause("gpu.viable")
def test_every_group_is_viable(gpu: Gpu) -> None:
    bad = [group.number for group in gpu.groups if not group.viable]
    assert not bad, (
        f"VFIO calls IOMMU group {', '.join(bad)} not viable: a member is still held by a host "
        "driver (kernel: Documentation/driver-api/vfio.rst; kata-containers #4211); "
        "iommu-groups.txt in the evidence has the members and their drivers"
    )


@pytest.mark.clause("gpu.viable")
def test_isolation_is_an_iommus(gpu: Gpu, host: Host) -> None:
    unsafe = "/sys/module/vfio/parameters/enable_unsafe_noiommu_mode"
    mode = host.read(unsafe).strip() if host.exists(unsafe) else "N"
    nodes = host.sh("ls /dev/vfio", probe=True).out.split()
    assert mode == "N", f"{unsafe} is {mode}: devices are handed out without an IOMMU"
    assert not [n for n in nodes if n.startswith("noiommu-")], (
        f"/dev/vfio has {nodes}: a noiommu group gives a guest the host's whole memory"
    )


@pytest.mark.clause("gpu.safe")
def test_host_keeps_its_disk_and_its_network(gpu: Gpu) -> None:
    assert gpu.vital, "no PCI device carries a mounted disk or the way in: nothing was compared"
    taken = {m.bdf: gpu.vital[m.bdf] for m in gpu.members if m.bdf in gpu.vital}
    assert not taken, f"taken from the host, which needs them itself: {taken}"


@pytest.mark.clause("gpu.unbind")
def test_every_device_has_its_way_back(gpu: Gpu, run: Run[Profile]) -> None:
    undo = [argv for e in run.journal.pending() if e.stage == "gpu" for argv in e.undo]
    for bdf, driver in gpu.before.items():
        back = [argv for argv in undo if bdf in argv and driver in argv]
        assert back or driver == "vfio-pci", (
            f"the journal on the host has no way back for {bdf} to its driver '{driver}'"
        )
    assert set(gpu.before) == {m.bdf for m in gpu.members}, "a device was bound that is not ours"
