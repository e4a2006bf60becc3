"""The GPUs belong to vfio-pci, and their whole IOMMU groups with them."""

import shlex

import pytest
from testinfra.host import Host

from fixtures.common import kernel_log
from fixtures.common.capacity import gib
from fixtures.common.diagnostics import best_hint
from fixtures.common.pci import BRIDGES
from fixtures.gpu.stage import Gpu
from fixtures.gpu.vfio_answer import HINTS, NOT_RUN, OTHERWISE, Opened
from fixtures.platform import host_log
from fixtures.profile import Profile
from harness.errors import RECOVER
from harness.outcome import not_assessed
from harness.run.stage import Run

DEVICES = "/sys/bus/pci/devices"


@pytest.mark.clause("gpu.present")
def test_selected_devices_are_the_ones_that_the_profile_means(
    gpu: Gpu, profile: Profile, host: Host
) -> None:
    # By address the stage takes whatever is there; and lspci, not the stage's own list, is asked.
    wanted = profile.gpu
    for device in gpu.devices:
        said = host.check_output("lspci -Dmmn -s %s", device.bdf)
        _, pci_class, vendor, *_ = (*shlex.split(said), "", "none", "none")
        assert vendor == wanted.vendor and pci_class in wanted.classes, (  # noqa: PT018  # one fact
            f"{device.bdf} was selected, and lspci says vendor {vendor}, class {pci_class}; "
            f"expected are vendor {wanted.vendor} and class {' or '.join(wanted.classes)}. A GPU's "
            "audio, USB or switch function is no GPU: correct gpu.bdf, gpu.vendor or gpu.classes "
            "of the profile"
        )


@pytest.mark.clause("gpu.bind")
def test_every_gpu_is_bound_to_vfio_pci(gpu: Gpu, host: Host) -> None:
    for device in gpu.devices:
        driver = host.file(f"{DEVICES}/{device.bdf}/driver")
        assert driver.is_symlink, (
            f"{device.bdf} has no driver at all, expected vfio-pci: is the module loaded "
            "('lsmod')? dmesg.txt in the evidence says what the kernel thinks of the device"
        )
        assert driver.linked_to.endswith("/vfio-pci"), (
            f"{device.bdf} is bound to {driver.linked_to}, not to vfio-pci: its old driver was "
            "not unbound, or took it again; see dmesg.txt in the evidence"
        )


@pytest.mark.clause("gpu.bind")
def test_override_keeps_other_drivers_away(gpu: Gpu) -> None:
    loose = {m.bdf: m.override for m in gpu.members if m.override != "vfio-pci"}
    assert not loose, (
        f"driver_override is not 'vfio-pci' but {loose}: the next probe of the bus may give these "
        "back to their drivers. The guide's gpu.sh sets it on the GPU alone; set it on each, and "
        "see who cleared it (a udev rule, driverctl)"
    )


@pytest.mark.clause("gpu.group")
def test_group_is_the_devices_own(gpu: Gpu, host: Host) -> None:
    # The group's own list of devices; the stage goes by each device's link to its group.
    for group in gpu.groups:
        listed = host.file(f"/sys/kernel/iommu_groups/{group.number}/devices").listdir()
        ours = {member.bdf for member in group.members}
        assert ours <= {*listed}, (
            f"{sorted(ours)} were taken for members of IOMMU group {group.number}, and the kernel "
            f"lists {listed} there; a group's number is of one machine and one boot (the guide's "
            "81): take it from the device's iommu_group, after this boot"
        )
        rest = [bdf for bdf in listed if bdf not in ours]
        classes = {bdf: host.file(f"{DEVICES}/{bdf}/class").content_string[2:6] for bdf in rest}
        kept = {bdf: found for bdf, found in classes.items() if found not in BRIDGES}
        assert not kept, (
            f"IOMMU group {group.number} also has {kept} (address: class), which were not passed "
            "through; expected is all of a group but its bridges. Were they plugged in just now? "
            "Then run again"
        )


@pytest.mark.clause("gpu.group")
def test_no_member_is_left_to_another_driver(gpu: Gpu) -> None:
    for group in gpu.groups:
        others = {m.bdf: m.driver for m in group.members if m.driver not in ("vfio-pci", "-")}
        assert not others, (
            f"IOMMU group {group.number} is shared with host drivers: {others}; expected is "
            "vfio-pci. All of a group is passed through or none of it: a card without ACS upstream "
            "shares its group. A driver that is in use refuses to let go; see 'dmesg | grep vfio'"
        )


@pytest.mark.clause("gpu.node")
def test_every_group_has_its_node(gpu: Gpu, host: Host) -> None:
    for group in gpu.groups:
        assert host.run_test("test -c %s", group.node).succeeded, (
            f"{group.node} is there, and is no device node: found is "
            f"'{host.check_output('ls -ld %s', group.node)}'. Remove what was put there, and bind "
            "the device again. /dev/vfio/vfio alone proves nothing: the guide's 'ls /dev/vfio' "
            "shows it with or without a bound device"
        )


@pytest.mark.clause("gpu.viable")
def test_every_group_is_viable(gpu: Gpu) -> None:
    for group in gpu.groups:
        assert group.viable is not None, (
            f"VFIO cannot be asked whether {group.node} is viable: {group.viable_says}. 'fuser -v "
            f"{group.node}' names who has it: a container or machine of an earlier run"
        )
        assert group.viable, (
            f"VFIO calls IOMMU group {group.number} not viable: "
            f"{group.viable_says or 'a member is still held by a host driver'} (kernel: "
            "Documentation/driver-api/vfio.rst; kata-containers #4211); iommu-groups.txt in the "
            "evidence has the members and their drivers"
        )


def opened(gpu: Gpu) -> tuple[Opened, ...]:
    """The devices that VFIO opened; not assessed where it opened none, as another test says."""
    if not gpu.vfio.opened:
        not_assessed(f"VFIO has opened no device: {gpu.vfio.error or 'no group is viable'}")
    return gpu.vfio.opened


@pytest.mark.clause("gpu.opens")
def test_vfio_opens_every_device(gpu: Gpu) -> None:
    said = gpu.vfio
    if said.error.startswith(NOT_RUN):
        not_assessed(said.error)
    missing = {member.bdf for member in gpu.members} - {d.bdf for d in said.opened if d.before}
    assert not missing, (
        f"VFIO does not open {', '.join(sorted(missing))} as QEMU will: "
        f"{said.error or 'no group is viable'}"
        f"{'; ' + '; '.join(said.holders) if said.holders else ''}. "
        + best_hint(said.error, HINTS, OTHERWISE)
    )


@pytest.mark.clause("gpu.opens")
def test_every_gpu_has_memory_and_interrupts_for_a_guest(gpu: Gpu) -> None:
    for device in opened(gpu):
        if device.bdf not in gpu.addresses:
            continue  # a sound function may do with less
        assert device.mappable, (
            f"{device.bdf} has no BAR that a guest can map, expected is one at least; it has: "
            f"{device.regions or 'no region'}. The firmware has left it without "
            "addresses: enable 'Above 4G Decoding', and see 'dmesg | grep BAR'"
        )
        assert "MSI" in device.interrupts, (
            f"{device.bdf} has no message interrupts, expected are MSI or MSI-X; it has: "
            f"{device.interrupts or 'none'}. Was the kernel booted with pci=nomsi?"
        )


@pytest.mark.clause("gpu.reset")
def test_every_device_comes_back_from_a_reset(gpu: Gpu) -> None:
    devices = opened(gpu)
    for device in devices:
        assert not device.reset_says, (
            f"{device.bdf} says that it can be reset, and VFIO_DEVICE_RESET fails: "
            f"{device.reset_says}. QEMU resets it at each start: power the host off and on, and "
            "see 'dmesg' for what the kernel waited for"
        )
        assert device.before == device.after, (
            f"{device.bdf} was {device.before} before its reset and is {device.after} after it "
            "(vendor and device; ffffffff: it does not answer): it has fallen off the bus. Power "
            "the host off and on; newer firmware of card or host may mend it"
        )
    if not any(device.can_reset for device in devices):
        not_assessed("VFIO can reset none of the devices by itself, so none was (see the findings)")


@pytest.mark.clause("gpu.pin")
def test_memory_of_the_guest_can_be_pinned(gpu: Gpu) -> None:
    said = gpu.vfio
    if not said.reached_memory:
        not_assessed(f"VFIO was not asked for memory, since it refused before: {said.error}")
    assert not said.error, (
        f"VFIO maps {gib(said.pinned)} of the {gib(said.asked)} that the guest will have "
        f"(kata.default_memory), and then refuses: {said.error}. It may lock "
        f"{'all' if said.lock_limit < 0 else f'{said.lock_limit} bytes'}, and "
        f"{gib(said.free)} were free; the IOMMU has addresses of {said.address_bits} bits. "
        + best_hint(said.error, HINTS, OTHERWISE)
    )
    if not said.pinned:
        not_assessed(
            f"only {gib(said.free)} of memory are available on the host, too little to try with "
            f"the {gib(said.asked)} of the guest: see the platform suite"
        )
    assert (said.pinned, said.unpinned) == (said.asked, said.asked), (
        f"VFIO mapped {said.pinned} and unmapped {said.unpinned} of {said.asked} bytes, expected "
        "is all of it: see dmesg.txt in the evidence for the IOMMU's words"
    )


@pytest.mark.clause("gpu.viable")
def test_isolation_is_an_iommus(gpu: Gpu, host: Host) -> None:
    unsafe = host.file("/sys/module/vfio/parameters/enable_unsafe_noiommu_mode")
    mode = unsafe.content_string.strip() if unsafe.exists else "N"  # a kernel without that mode
    assert mode == "N", (
        f"{unsafe.path} is {mode}, expected N: devices are handed out without an IOMMU. Write N "
        "to it, and take the option out of /etc/modprobe.d"
    )
    nodes = host.file("/dev/vfio").listdir()
    assert not [node for node in nodes if node.startswith("noiommu-")], (
        f"/dev/vfio has {nodes}: a noiommu group gives a guest the host's whole memory. Unbind its "
        "device, and enable the IOMMU (platform suite)"
    )


@pytest.mark.clause("gpu.safe")
def test_host_keeps_its_disk_and_its_network(gpu: Gpu, host: Host) -> None:
    # What the host lived on before, as it is now that everything is bound.
    if not gpu.vital:
        not_assessed("no PCI device carries a mounted disk or the way in, so none can be lost")
    drivers = {bdf: host.file(f"{DEVICES}/{bdf}/driver") for bdf in gpu.vital}
    taken = {
        bdf: gpu.vital[bdf]
        for bdf, driver in drivers.items()
        if driver.exists and driver.linked_to.endswith("/vfio-pci")  # a bridge may have none
    }
    assert not taken, (
        f"bound to vfio-pci, expected is the host's own driver, as it lives on it: {taken}. Give "
        "it back (driver_override, then drivers_probe), and select another device in [gpu] of the "
        "profile; 'vfio-pci.ids' on the kernel's command line takes all devices of a kind"
    )


@pytest.mark.clause("gpu.unbind")
def test_every_device_has_its_way_back(gpu: Gpu, run: Run[Profile]) -> None:
    undo = [argv for e in run.journal.pending() if e.stage == "gpu" for argv in e.undo]
    for bdf, driver in gpu.before.items():
        back = [argv for argv in undo if bdf in argv and driver in argv]
        assert back or driver == "vfio-pci", (
            f"the journal on the host has no way back for {bdf} to its driver '{driver}'; it has "
            f"{undo}. Give it back by hand: driver_override, unbind, then drivers_probe"
        )
    members = {member.bdf for member in gpu.members}
    assert set(gpu.before) == members, (
        f"bound were {sorted(gpu.before)}, and in the GPUs' groups are now {sorted(members)}: a "
        f"group has changed meanwhile. Undo this run ({RECOVER}), then run again"
    )


@pytest.mark.clause("platform.kernel-log")
def test_hosts_kernel_told_of_no_error_meanwhile(gpu: Gpu, run: Run[Profile]) -> None:
    found = host_log.errors(run)
    if found is None:
        not_assessed(kernel_log.UNREADABLE)
    assert not found, kernel_log.told("the host", found)
