"""The GPU belongs to vfio-pci, and its whole IOMMU group with it."""

import pytest

from fixtures.gpu import Gpu
from harness.host import Host

pytestmark = [pytest.mark.acceptance, pytest.mark.gpu, pytest.mark.order(50)]


@pytest.mark.clause("gpu.bind")
def test_gpu_is_bound_to_vfio_pci(gpu: Gpu, host: Host) -> None:
    driver = host.infra.file(f"/sys/bus/pci/devices/{gpu.bdf}/driver")
    assert driver.is_symlink, f"{gpu.bdf} has no driver at all"
    assert driver.linked_to.endswith("/vfio-pci"), f"{gpu.bdf} is bound to {driver.linked_to}"


@pytest.mark.clause("gpu.group")
def test_iommu_group_is_the_devices_own(gpu: Gpu, host: Host) -> None:
    link = host.infra.file(f"/sys/bus/pci/devices/{gpu.bdf}/iommu_group")
    assert link.linked_to == f"/sys/kernel/iommu_groups/{gpu.group}"


@pytest.mark.clause("gpu.group")
def test_no_member_is_left_to_another_driver(gpu: Gpu) -> None:
    others = {m.bdf: m.driver for m in gpu.members if m.driver != "vfio-pci"}
    assert gpu.members, f"IOMMU group {gpu.group} has no members"
    assert not others, f"IOMMU group {gpu.group} is shared with other drivers: {others}"


@pytest.mark.clause("gpu.node")
def test_group_node_is_there(gpu: Gpu, host: Host) -> None:
    there = host.run("test", "-c", gpu.group_node, ok=(0, 1)).rc == 0
    assert there, f"{gpu.group_node} is no device node; /dev/vfio/vfio alone proves nothing"


@pytest.mark.clause("gpu.viable")
def test_group_is_viable(gpu: Gpu) -> None:
    assert gpu.viable, (
        f"VFIO says that IOMMU group {gpu.group} is not viable: a member is still held by a host "
        "driver (kernel: Documentation/driver-api/vfio.rst)"
    )
