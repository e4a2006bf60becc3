"""The host meets the guide's preconditions."""

import pytest
from packaging.version import Version

from fixtures.platform import Platform
from fixtures.schema import Profile

pytestmark = [pytest.mark.acceptance, pytest.mark.platform, pytest.mark.order(10)]


@pytest.mark.clause("platform.kernel-options")
def test_kernel_has_vfio(platform: Platform) -> None:
    missing = [name for name, value in platform.kernel_options.items() if value not in ("y", "m")]
    assert not missing, (
        f"kernel {platform.kernel} is built without {', '.join(missing)}; "
        "the guide asks for an OLK-6.6 kernel with these options set (y or m)"
    )


@pytest.mark.clause("platform.iommu")
def test_iommu_is_on(platform: Platform) -> None:
    assert platform.iommu_groups > 0, (
        "/sys/kernel/iommu_groups is empty: no IOMMU is translating. Enable the SMMU in the BIOS "
        "(Advanced > MISC Config > Support Smmu), or on x86 boot with intel_iommu=on; "
        f"the kernel was booted with: {platform.command_line}"
    )


@pytest.mark.clause("platform.docker")
def test_docker_is_new_enough(platform: Platform, profile: Profile) -> None:
    bound = profile.platform.docker_newer_than
    assert platform.docker is not None, (
        "the docker server does not answer to 'docker version'; is docker.service running?"
    )
    assert platform.docker > Version(bound), (
        f"docker server {platform.docker} is too old: the guide asks for one newer than {bound}"
    )


@pytest.mark.clause("platform.containerd")
def test_containerd_answers(platform: Platform) -> None:
    assert platform.containerd is not None, (
        "'ctr version' gets no answer; is containerd.service running?"
    )
    assert "Server:" in platform.containerd


@pytest.mark.clause("platform.kata")
def test_containerd_finds_the_kata_shim(platform: Platform, profile: Profile) -> None:
    assert platform.kata_shim is not None, (
        f"there is no shim for '{profile.kata.runtime}' on PATH; install kata-containers "
        "(guide: base deployment of kata-virtcca) or set kata.runtime in the profile"
    )
