"""The container is a machine of its own, and the GPUs are in it; without them, they are not."""

import re
from collections import Counter

import pytest
from testinfra.host import Host

from fixtures.common import kernel_log
from fixtures.common.pci import PciDevice
from fixtures.container import hook_chain
from fixtures.container.nvidia_smi import SmiGpu
from fixtures.container.qemu import QemuProcess
from fixtures.container.stage import SERVER_PATIENCE, BareContainer, Container
from fixtures.gpu.stage import Gpu
from fixtures.kata.stage import Kata
from fixtures.network.stage import Network
from fixtures.platform import host_log, virtcca
from fixtures.platform.stage import Platform
from fixtures.profile import Profile
from fixtures.rootfs.stage import Rootfs
from harness.host.host import ANY, BOOT_ID
from harness.outcome import not_assessed
from harness.run.stage import Run

# nvidia-smi's words without a driver, a GPU or its library; and those of ctr, kata's agent and the
# shell that looks first where it is not there: the guest's hook brings it with a GPU alone.
NO_SMI = re.compile(
    "NVIDIA-SMI has failed|No devices were found|NVIDIA-SMI couldn't find|Failed to initialize NVML"
    "|executable file not found|the file \\S+ was not found|nvidia-smi: not found"
)
# vLLM's words for it, by version, and PyTorch's.
NO_GPU = re.compile(
    "Failed to infer device type|Device string must not be empty|No CUDA GPUs are available"
    "|Found no NVIDIA driver"
)
PCI_CONFIG = 256  # bytes of configuration that a conventional PCI function has
VIRTCCA = ("kvm-type=cvm", "tmm-guest", "virtcca_cvm_guest=1", "swiotlb=")


def qemu_of(container: Container) -> QemuProcess:
    """The container's QEMU, or a failure that says that there is none."""
    assert container.machine is not None, (
        "no QEMU process has a group's node open: the container runs without the device, or not "
        "in a virtual machine at all; qemu.txt in the evidence has the command lines"
    )
    return container.machine


def plugged(container: Container, gpu: Gpu) -> list[PciDevice]:
    """The functions that QEMU has: kata plugs the first of each IOMMU group alone."""
    qemu = qemu_of(container)
    return [member for member in gpu.members if qemu.vfio(member.bdf)]


# The control comes first: a machine boots faster while no other one is up.
@pytest.mark.clause("container.negative-control")
def test_without_the_device_there_is_no_gpu(bare_container: BareContainer, gpu: Gpu) -> None:
    assert bare_container.pci, (
        "lspci lists nothing at all in the container without a device, so nothing was compared: "
        "expected are at least QEMU's own. Has the image pciutils (image suite)?"
    )
    seen = [line for line in bare_container.pci if any(d.id in line for d in gpu.devices)]
    assert not seen, (
        f"on the bus of a container that was given no device: {seen}; expected is none of the "
        "GPUs. Does kata's configuration, or containerd's, pass devices to every container?"
    )


@pytest.mark.clause("container.negative-control")
def test_without_the_device_nvidia_smi_fails(bare_container: BareContainer) -> None:
    assert bare_container.smi.rc != 0, (
        "nvidia-smi ended with 0 in a container that was given no GPU, expected a failure: what it "
        f"says elsewhere proves nothing. Is it the real one?\n{bare_container.smi.said}"
    )
    assert NO_SMI.search(bare_container.smi.said), (
        "in a container without a GPU nvidia-smi could not be run, or failed for another reason "
        f"than the missing GPU, so this proves nothing: {bare_container.smi.meaning}"
    )


@pytest.mark.clause("container.negative-control")
def test_without_the_device_there_is_no_answer(bare_container: BareContainer) -> None:
    said = bare_container.server_says
    assert bare_container.server_rc is not None, (
        f"the model server was still running after {SERVER_PATIENCE} s in a container without a "
        f"GPU: what answers may not be computed by the GPU at all. It said last:\n{said}"
    )
    assert bare_container.server_rc != 0, (
        "the model server ended with status 0 in a container without a GPU, expected an error: is "
        f"model.command of the profile the server's? It said last:\n{said}"
    )
    assert NO_GPU.search(said), (
        f"the model server ended with {bare_container.server_rc} in a container without a GPU, but "
        f"for another reason than the missing GPU, so this proves nothing. It said last:\n{said}"
    )


@pytest.mark.clause("container.run")
def test_container_runs_under_an_id_of_this_run(container: Container, host: Host) -> None:
    tasks = [line.split() for line in host.check_output("ctr task ls").splitlines()]
    states = {words[0]: words[-1] for words in tasks[1:]}
    assert states.get(container.id) == "RUNNING", (
        f"container {container.id} is {states.get(container.id, 'not there')}, expected RUNNING; "
        f"there are {states}: journal-kata.txt and journal-containerd.txt in the evidence say why"
    )


@pytest.mark.clause("container.run")
def test_commands_run_in_the_container(container: Container) -> None:
    result = container.run("sh", "-c", 'echo "$0"; exit 7', "机密容器", ok=ANY)
    assert (result.rc, result.out.strip()) == (7, "机密容器"), (
        f"'ctr task exec' gives back status {result.rc} and {result.out!r}, expected 7 and "
        f"机密容器: {result.err} journal-kata.txt in the evidence has what the agent says"
    )


@pytest.mark.clause("container.isolation")
def test_container_has_a_kernel_of_its_own(container: Container, host: Host) -> None:
    # Not the release: host and guest may both run a kernel of OLK-6.6 with the same one.
    hosts = host.file(BOOT_ID).content_string.strip()
    assert container.boot_id != hosts, (
        f"the container runs on the host's own kernel {container.guest_kernel} (one boot id): this "
        "is no virtual machine. Is kata.runtime of the profile kata's, and its shim the real one?"
    )


@pytest.mark.clause("container.isolation")
def test_container_runs_the_guests_kernel(container: Container, rootfs: Rootfs) -> None:
    assert container.guest_kernel == rootfs.kernel_release, (
        f"the guest runs {container.guest_kernel}, and the driver in its image is for "
        f"{rootfs.kernel_release}: 'kernel' in [hypervisor.qemu] is of another build (kata suite)"
    )


@pytest.mark.clause("container.isolation")
def test_machine_boots_katas_image(container: Container, kata: Kata) -> None:
    qemu = qemu_of(container)
    image = str(kata.effective["Image"]["Path"])
    assert any(image in word for word in qemu.argv), (
        f"QEMU {qemu.pid} does not boot {image}: kata read another configuration than the one "
        "that was set (kata suite)"
    )


@pytest.mark.clause("container.isolation", "kata.memory")
def test_machine_has_the_memory(container: Container, profile: Profile) -> None:
    qemu, wanted = qemu_of(container), profile.kata.default_memory
    assert qemu.memory == wanted, (
        f"QEMU {qemu.pid} has {qemu.memory} MiB, expected {wanted} (kata.default_memory): kata "
        "read another configuration than the one that was set (kata suite), or the value is too "
        "small: such a one silently becomes 2048"
    )


@pytest.mark.clause("container.confidential")
def test_machine_is_confidential(container: Container, profile: Profile) -> None:
    kind = profile.platform.tee.kind
    if kind == "none":
        not_assessed("the profile's host has no TEE (platform.tee.kind is 'none')")
    line = " ".join(qemu_of(container).argv)
    missing = [flag for flag in VIRTCCA if flag not in line]
    assert not missing, (
        f"QEMU lacks {', '.join(missing)}: kata started an ordinary machine, and what runs in it "
        "is open to the host. Is kata's virtCCA patch in, and confidential_guest set?"
    )


@pytest.mark.clause("container.confidential")
def test_devices_are_delegated_to_the_secure_world(
    container: Container, gpu: Gpu, platform: Platform
) -> None:
    if platform.tee is None:
        not_assessed("the profile's host has no TEE (platform.tee.kind is 'none')")
    bad, missing = virtcca.delegation(
        container.kernel_log, [m.bdf for m in plugged(container, gpu)]
    )
    assert not bad, (
        "the host's kernel says of the devices, since the container was started:\n"
        + "\n".join(bad)
        + "\n'failed to delegate device': another device under the same root port is in use"
    )
    if missing and not platform.tee.names_devices:
        not_assessed(f"this kernel does not tell which devices it delegates: {platform.kernel}")
    assert not missing, (
        f"no 'attach confidential dev' in the kernel's log for {', '.join(missing)}: the machine "
        f"has the device without the secure SMMU's protection. It says: {container.kernel_log}"
    )


@pytest.mark.clause("container.confidential")
def test_guest_has_bounce_buffers_enough(container: Container, profile: Profile) -> None:
    if profile.platform.tee.kind == "none":
        not_assessed("the profile's host has no TEE (platform.tee.kind is 'none')")
    if container.console_log is None:
        not_assessed("the guest's log does not come to the host: containerd has to be at debug")
    assert not container.console_log, (
        f"the guest says: {container.console_log[-1]}\nenlarge 'swiotlb=' in kernel_params of "
        "kata's configuration (slabs of 2 KiB: 262144 are 512 MiB)"
    )


@pytest.mark.clause("container.device")
def test_machine_holds_every_group(container: Container, gpu: Gpu) -> None:
    wanted = {group.node for group in gpu.groups}
    held = set(qemu_of(container).groups)
    assert held == wanted, (
        f"the container's QEMU holds {held or 'no group'}, expected {wanted}: are they all given "
        "to 'ctr run' by --device? Another group may be an earlier container's: 'ctr task ls'"
    )


@pytest.mark.clause("container.device")
def test_machine_has_every_gpu(container: Container, gpu: Gpu) -> None:
    has = [member.bdf for member in plugged(container, gpu)]
    missing = [d.bdf for d in (*gpu.devices, *gpu.switches) if d.bdf not in has]
    assert not missing, (
        f"QEMU has no {', '.join(missing)} on its command line, but of group "
        f"{[g.number for g in gpu.groups]} {', '.join(has) or 'nothing'}: kata plugs the first "
        "function of an IOMMU group by address and no other (virtcontainers, AppendDevice). Put "
        "the GPU into a slot with a group of its own"
    )


@pytest.mark.clause("container.device")
def test_every_device_is_behind_a_port(container: Container, gpu: Gpu, host: Host) -> None:
    qemu, ports = qemu_of(container), qemu_of(container).ports
    buses = {member.bdf: (qemu.vfio(member.bdf) or {}) for member in plugged(container, gpu)}
    bare = {bdf: said.get("bus") for bdf, said in buses.items() if said.get("bus") not in ports}
    # The kernel shows 4096 bytes of a PCI Express function's configuration; so kata asks, too.
    conventional = [
        bdf
        for bdf, bus in bare.items()
        if bus is None and host.file(f"/sys/bus/pci/devices/{bdf}/config").size <= PCI_CONFIG
    ]
    wrong = {bdf: bus for bdf, bus in bare.items() if bdf not in conventional}
    assert not wrong, (
        f"not behind a port of QEMU's ({', '.join(ports) or 'none'}), but on a bus of its own: "
        f"{wrong}. kata's virtCCA patch before 2024-12-17 dropped the port's -device "
        "(virtCCA_sdk b460207)"
    )
    if conventional:
        not_assessed(f"{', '.join(conventional)} is no PCI Express function: kata plugs no port")


@pytest.mark.clause("container.device")
def test_devices_on_the_guests_bus_are_the_assigned_ones(container: Container, gpu: Gpu) -> None:
    assigned = Counter(member.id for member in plugged(container, gpu))
    words = [line.split()[2] for line in container.pci if len(line.split()) > 2]
    found = Counter(word for word in words if word in {member.id for member in gpu.members})
    assert found == assigned, (
        f"assigned: {dict(assigned)}; on the guest's bus: {dict(found)}. lspci -n there:\n"
        + "\n".join(container.pci)
    )


@pytest.mark.clause("container.hook")
@pytest.mark.parametrize("name", hook_chain.LINKS)
def test_hook_chain(container: Container, name: str) -> None:
    link = next(link for link in container.links if link.name == name)
    first = hook_chain.broken(container.links)
    if link.holds is None:
        not_assessed(f"{link.seen}: {link.cause}")
    if not link.holds and first is not None and first is not link:
        pytest.fail(
            f"the chain is broken before '{name}': '{first.name}' does not hold: {first.seen}\n"
            f"here was seen: {link.seen}"
        )
    assert link.holds, f"the first broken link is '{name}': {link.seen}\nlikely: {link.cause}"


@pytest.mark.clause("container.nvidia-smi")
def test_nvidia_smi_ends_well(container: Container) -> None:
    assert container.smi.rc == 0, container.smi.meaning


@pytest.mark.clause("container.nvidia-smi")
def test_nvidia_smi_lists_every_gpu(container: Container, gpu: Gpu) -> None:
    listed = [smi.uuid for smi in smi_gpus(container)]
    missing = unlisted(container, gpu)
    assert len(listed) == len(gpu.devices) and not missing, (  # noqa: PT018  # one fact
        f"{len(gpu.devices)} GPUs were passed through, nvidia-smi lists {len(listed)}: {listed}; "
        f"of those on the guest's bus it lists all but {', '.join(missing) or 'none'}. "
        "'dmesg' in the guest (journal-kata.txt) has what the driver says of the others"
    )
    assert len(set(listed)) == len(listed), (
        f"nvidia-smi lists a GPU twice: {listed}, expected is each once; is MIG on? Switch it off"
    )


@pytest.mark.clause("container.nvidia-smi")
def test_nvidia_smi_lists_the_assigned_devices(container: Container, gpu: Gpu) -> None:
    # nvidia-smi has device before vendor: 0x20F110DE.
    assigned = sorted(f"0x{d.device}{d.vendor}".lower() for d in gpu.devices)
    listed = sorted((smi.device_id or "").lower() for smi in smi_gpus(container))
    assert listed == assigned, (
        f"nvidia-smi lists devices {listed}, passed through were {assigned}: the container sees "
        "another's GPU; look for a second --device, and at qemu.txt in the evidence"
    )


@pytest.mark.clause("container.nvidia-smi")
def test_driver_is_the_installed_one(container: Container, profile: Profile) -> None:
    versions = {smi.driver_version for smi in smi_gpus(container)}
    assert versions == {profile.guest.driver_version}, (
        f"nvidia-smi runs driver {versions}, installed was {profile.guest.driver_version}; the "
        "guide's picture shows 550.90.12, its text installs 550.127.08"
    )


@pytest.mark.clause("container.nvidia-smi")
def test_nvidia_smi_knows_each_gpu(container: Container) -> None:
    for smi in smi_gpus(container):
        assert smi.name, (
            f"nvidia-smi has no name for the GPU at {smi.bus_id}: is driver {smi.driver_version} "
            "older than the card? guest.driver of the profile names another"
        )
        assert (smi.uuid or "").startswith("GPU-"), (
            f"nvidia-smi has UUID {smi.uuid!r} for the GPU at {smi.bus_id}, expected GPU-...: the "
            "driver could not read the card; 'NVRM' in the guest's log (journal-kata.txt) says why"
        )
        assert smi.memory_total != 0, (
            f"nvidia-smi shows no memory of the GPU {smi.uuid}: its BAR is not mapped. Is the "
            "guest's window for 64-bit memory wide enough (kata's pcie_root_port, OVMF)?"
        )
    silent = [smi.uuid for smi in smi_gpus(container) if smi.memory_total is None]
    if silent:
        not_assessed(
            f"nvidia-smi does not tell the memory of {silent}: it has none of its own, or MIG"
        )


def unlisted(container: Container, gpu: Gpu) -> list[str]:
    """The GPUs on the guest's bus that nvidia-smi lists at no address, each by the host's."""
    at = [smi.address.removeprefix("0000:") for smi in container.smi.gpus if smi.address]
    models = {device.id for device in gpu.devices}
    return [
        f"{device.host or 'one of the GPUs'} ({device.bdf} in the guest)"
        for device in container.devices
        if at and f"{device.vendor}:{device.device}" in models and device.bdf not in at
    ]


def smi_gpus(container: Container) -> tuple[SmiGpu, ...]:
    """The GPUs that nvidia-smi lists, or a failure that says why there are none."""
    assert container.smi.gpus, f"nvidia-smi lists no GPU. {container.smi.meaning}"
    return container.smi.gpus


@pytest.mark.clause("container.network")
def test_guest_answers_ping(container: Container, network: Network, host: Host) -> None:
    result = host.run("ping -n -c 3 -w 20 %s", network.address, timeout=30)
    assert result.succeeded, (
        f"no answer from the guest at {network.address}:\n{result.stdout}{result.stderr}\n"
        "the namespace answered before the container came, so kata's tap or its tc filters do "
        "not carry it into the guest; a left tap0_kata (kata-containers #6339)? See network.txt"
    )


@pytest.mark.clause("container.network")
def test_guest_has_the_address_itself(container: Container, network: Network) -> None:
    result = container.run("cat", "/proc/net/fib_trie", ok=ANY)
    assert result.rc == 0, (
        f"'cat /proc/net/fib_trie' in the container ended with {result.rc}, expected 0: "
        f"{result.err} Is the container gone ('ctr task ls'), or the agent (journal-kata.txt)?"
    )
    assert network.address in result.out, (
        f"the guest itself does not have {network.address}, so what answers ping is the namespace: "
        "the agent's log in journal-kata.txt says whether it was told of the address"
    )


@pytest.mark.clause("platform.kernel-log")
def test_hosts_kernel_told_of_no_error_meanwhile(container: Container, run: Run[Profile]) -> None:
    found = host_log.errors(run)
    if found is None:
        not_assessed(kernel_log.UNREADABLE)
    assert not found, kernel_log.told("the host", found)
