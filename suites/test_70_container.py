"""The container is a machine of its own, and the GPU is in it; without it, it is not."""

import pytest

from fixtures.container import BareContainer, Container
from fixtures.gpu import Gpu
from fixtures.network import Network
from fixtures.platform import Platform
from fixtures.schema import Profile
from harness.host import ANY, Host

pytestmark = [pytest.mark.acceptance, pytest.mark.container, pytest.mark.order(70)]

QUERY = ("--query-gpu=driver_version,name,uuid,pci.bus_id", "--format=csv,noheader,nounits")


@pytest.mark.clause("container.isolation")
def test_container_has_a_kernel_of_its_own(container: Container, platform: Platform) -> None:
    assert container.guest_kernel != platform.kernel, (
        f"the container runs on the host's kernel {platform.kernel}: this is no virtual machine"
    )


@pytest.mark.clause("container.device")
def test_a_virtual_machine_holds_the_group(container: Container, gpu: Gpu) -> None:
    assert container.machine_holds_group, f"no QEMU process has {gpu.group_node} open"


@pytest.mark.clause("container.device")
def test_gpu_is_on_the_guests_bus(container: Container, gpu: Gpu) -> None:
    wanted = f"{gpu.vendor}:{gpu.device}"
    found = [line for line in container.pci if wanted in line]
    assert len(found) == 1, (
        f"{len(found)} devices {wanted} in the container, 1 passed through; lspci -n:\n"
        + "\n".join(container.pci)
    )


@pytest.mark.clause("container.network")
def test_guest_answers_ping(container: Container, network: Network, host: Host) -> None:
    ping = ("ping", "-n", "-c", "3", "-w", "20", network.address)
    result = host.run(*ping, ok=ANY, timeout=30)
    assert result.rc == 0, f"no answer from the guest at {network.address}:\n{result.out}"


@pytest.mark.clause("container.nvidia-smi")
def test_nvidia_smi_reads_the_gpu(container: Container, profile: Profile) -> None:
    result = container.run("nvidia-smi", *QUERY, ok=ANY, timeout=120)
    assert result.rc == 0, (
        f"'nvidia-smi' ended with {result.rc}: {result.out}{result.err}\n"
        "9: the driver is not loaded in the guest; 127: the guest hook did not bring it into the "
        "container (guest_hook_path; see 'journalctl -t kata' for 'found prestart hook')"
    )
    gpus = [line.split(", ") for line in result.out.splitlines()]
    assert len(gpus) == 1, f"one GPU was passed through, nvidia-smi lists {len(gpus)}"
    assert gpus[0][0] == profile.guest.driver_version


@pytest.mark.clause("container.negative-control")
def test_without_the_device_there_is_no_gpu(bare_container: BareContainer, gpu: Gpu) -> None:
    wanted = f"{gpu.vendor}:{gpu.device}"
    assert bare_container.pci, "lspci lists nothing at all, so it proves nothing"
    assert not [line for line in bare_container.pci if wanted in line]


@pytest.mark.clause("container.negative-control")
def test_without_the_device_nvidia_smi_fails(bare_container: BareContainer) -> None:
    assert bare_container.nvidia_smi != 0, (
        f"nvidia-smi claims a GPU where none was passed:\n{bare_container.nvidia_smi_says}"
    )
