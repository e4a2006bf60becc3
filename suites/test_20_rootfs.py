"""The guest image is whole, looked at from outside and not booted."""

import pytest

from fixtures.rootfs import Rootfs
from fixtures.schema import Profile
from harness.host import Host

pytestmark = [pytest.mark.acceptance, pytest.mark.rootfs, pytest.mark.order(20)]


@pytest.mark.clause("rootfs.resize")
def test_image_was_enlarged(rootfs: Rootfs) -> None:
    assert rootfs.size > rootfs.base_size, (
        f"{rootfs.image} has {rootfs.size} bytes, no more than the base image"
    )


@pytest.mark.clause("rootfs.resize")
def test_file_system_is_clean(rootfs: Rootfs) -> None:
    assert rootfs.fsck_clean, f"'e2fsck -fn {rootfs.image}' finds damage"


@pytest.mark.clause("rootfs.packages")
def test_packages_are_installed(rootfs: Rootfs, profile: Profile) -> None:
    missing = [name for name in profile.guest.packages if name not in rootfs.packages]
    assert not missing, f"not in the guest image: {', '.join(missing)}"


@pytest.mark.clause("rootfs.driver")
def test_driver_is_built_for_the_guests_kernel(rootfs: Rootfs, host: Host) -> None:
    assert rootfs.vermagic, (
        f"no module nvidia.ko under /lib/modules/{rootfs.kernel_release} of the guest image; "
        "without --kernel-name the installer builds for the host's kernel"
    )
    assert rootfs.vermagic.split()[0] == rootfs.kernel_release


@pytest.mark.clause("rootfs.driver")
def test_driver_has_the_wanted_version(rootfs: Rootfs, profile: Profile) -> None:
    assert rootfs.driver_version == profile.guest.driver_version


@pytest.mark.clause("rootfs.driver")
def test_programs_are_there(rootfs: Rootfs) -> None:
    assert rootfs.files >= {"/usr/bin/nvidia-smi", "/usr/bin/nvidia-container-runtime-hook"}


@pytest.mark.clause("rootfs.hook")
def test_hook_is_an_executable_file(rootfs: Rootfs) -> None:
    assert rootfs.hook_mode == "755 regular file", (
        f"{rootfs.hook} is '{rootfs.hook_mode}': kata's agent skips, without a word, what is not "
        "executable or is a symbolic link"
    )


@pytest.mark.clause("rootfs.hook")
def test_hook_quotes_its_arguments(rootfs: Rootfs) -> None:
    assert '"$@"' in rootfs.hook_text
    assert "nvidia-container-runtime-hook" in rootfs.hook_text


@pytest.mark.clause("rootfs.umount")
def test_no_mount_and_no_loop_device_is_left(rootfs: Rootfs, host: Host) -> None:
    loops = host.run("losetup", "--associated", rootfs.image).out
    mounts = host.run("findmnt", "--raw", "--noheadings", "--output", "TARGET,SOURCE").out
    assert loops == "", f"loop devices still hold the image: {loops}"
    assert "passthrough-acceptance" not in mounts
