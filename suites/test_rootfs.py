"""The guest image is whole, looked at from outside and not booted."""

from pathlib import PurePosixPath

import pytest
from testinfra.host import Host

from fixtures.common.capacity import gib, size_of
from fixtures.profile import Profile
from fixtures.rootfs import driver, toolkit
from fixtures.rootfs.contents import (
    GROUP,
    KERNEL_FILES,
    KERNEL_OPTIONS,
    KERNEL_TREE,
    PROGRAMS,
    TOOLKIT_CONFIG,
    installed,
)
from fixtures.rootfs.mounted import MOUNT_POINT
from fixtures.rootfs.stage import HOOK_MODE, Rootfs
from harness.errors import RECOVER
from harness.host.shape import Shape, read
from harness.outcome import not_assessed
from harness.text import end

ANEW = "make the image anew: pytest -m 'acceptance and rootfs' --provision always"


class Mount(Shape):
    """A line of findmnt."""

    target: str


class Mounts(Shape):
    """What ``findmnt --json`` prints."""

    filesystems: tuple[Mount, ...]


@pytest.mark.clause("rootfs.resize")
def test_image_was_enlarged(rootfs: Rootfs, profile: Profile) -> None:
    wanted = rootfs.base_size + size_of(profile.guest.grow)
    assert rootfs.size >= wanted, (
        f"{rootfs.image} has {gib(rootfs.size)}, and the base image's {gib(rootfs.base_size)} were "
        f"to be grown by {profile.guest.grow} (guest.grow); {ANEW}"
    )


@pytest.mark.clause("rootfs.resize", "rootfs.layout")
def test_file_system_fills_the_image(rootfs: Rootfs) -> None:
    unused = rootfs.size - rootfs.file_system_at - rootfs.file_system_size
    assert 0 <= unused < 16 << 20, (
        f"the file system in {rootfs.image} ({rootfs.layout}) has {gib(rootfs.file_system_size)} "
        f"of the image's {gib(rootfs.size)}: it was not grown with it (qemu-img resize, then the "
        f"partition if there is one, then resize2fs); {ANEW}"
    )


@pytest.mark.clause("rootfs.resize")
def test_file_system_is_clean(rootfs: Rootfs) -> None:
    assert rootfs.fsck == 0, (
        f"'e2fsck -fn {rootfs.image}' ended with {rootfs.fsck}, and 0 is a clean file system: "
        f"{end(rootfs.fsck_says, 1500)}\nwas the image mounted, or used by a guest that could "
        f"write to it? {ANEW}"
    )


@pytest.mark.clause("rootfs.repository")
def test_repository_is_known_in_the_image(rootfs: Rootfs, profile: Profile) -> None:
    wanted = PurePosixPath(profile.guest.repository).name
    assert wanted in rootfs.repositories, (
        f"/etc/yum.repos.d of {rootfs.image} has {', '.join(rootfs.repositories) or 'nothing'}, "
        f"and not {wanted}: the guide writes it to the host, before the image is mounted; {ANEW}"
    )


@pytest.mark.clause("rootfs.packages")
def test_packages_are_installed(rootfs: Rootfs, profile: Profile) -> None:
    wanted = profile.guest.packages
    groups = [name for name in wanted if name.startswith(GROUP)]
    missing = [n for n in wanted if n not in groups and not installed(n, rootfs.packages)]
    assert not missing, (
        f"'rpm --root' finds these packages not installed in {rootfs.image}: {', '.join(missing)}; "
        "does guest.repository of the profile, or the host's own repositories, have them?"
    )
    if groups:
        not_assessed(f"rpm knows packages and no groups of them: {', '.join(groups)}")


@pytest.mark.clause("rootfs.kernel-tree")
def test_kernel_tree_is_whole(rootfs: Rootfs) -> None:
    missing = [name for name in KERNEL_FILES if name not in rootfs.kernel_files]
    assert not missing, (
        f"{KERNEL_TREE} of the guest image lacks {', '.join(missing)}: it is no configured and "
        "prepared kernel tree. Build the guest's kernel in guest.kernel_tree first ('make "
        "modules_prepare' leaves out Module.symvers; 'make' makes it)"
    )


@pytest.mark.clause("rootfs.kernel-tree")
def test_guest_kernel_can_load_the_driver(rootfs: Rootfs) -> None:
    found = rootfs.kernel_options
    wrong = {name: found[name] for name, good in KERNEL_OPTIONS.items() if found[name] not in good}
    assert not wrong, (
        f"the guest kernel {rootfs.kernel_release} is configured with "
        f"{', '.join(f'{name}={value}' for name, value in wrong.items())}; wanted are "
        f"{', '.join(f'{name}={KERNEL_OPTIONS[name][0]}' for name in wrong)}. virtCCA's guest "
        "configuration for kata 3.15 has modules off; GPU passthrough is documented for CC-0.8.0"
    )


@pytest.mark.clause("rootfs.vermagic")
def test_driver_is_built_for_the_guests_kernel(rootfs: Rootfs) -> None:
    release = rootfs.kernel_release
    assert rootfs.vermagic, (
        f"'modinfo -k {release} nvidia' finds no module under /lib/modules/{release} of the guest "
        "image. Without --kernel-name the installer builds for the host's kernel; without depmod "
        f"nothing finds what it built. {ANEW}"
    )
    assert rootfs.vermagic.split()[0] == release, (
        f"{rootfs.module} has vermagic '{rootfs.vermagic}', and the guest boots {release}: it "
        "would refuse the module. Is guest.kernel_tree the tree of the guest's kernel, with "
        "LOCALVERSION empty in both?"
    )


@pytest.mark.clause("rootfs.driver")
def test_driver_has_the_wanted_version(rootfs: Rootfs, profile: Profile) -> None:
    found, wanted = rootfs.driver_version, profile.guest.driver_version
    assert found == wanted, (
        f"the driver in the guest image has version '{found}', and the profile asks for '{wanted}' "
        "(guest.driver_version); does guest.driver name the installer of that version? (The "
        "guide's picture shows 550.90.12, its text installs 550.127.08.)"
    )
    if driver.number(found) >= driver.CHOOSES:
        kind = driver.kind(rootfs.license)
        assert kind == profile.guest.driver_modules, (
            f"its modules are {kind} ('{rootfs.license}'), and guest.driver_modules is "
            f"{profile.guest.driver_modules}: the installer went by the GPUs on the host's bus. "
            f"Open ones need Turing or later, Blackwell needs open ones; {ANEW}"
        )


@pytest.mark.clause("rootfs.driver")
def test_driver_is_whole(rootfs: Rootfs) -> None:
    assert rootfs.uvm, (
        f"'modinfo -k {rootfs.kernel_release} nvidia-uvm' finds no module in the guest image: "
        f"nvidia-smi does without, and CUDA does not; {ANEW}"
    )
    if driver.number(rootfs.driver_version) < driver.FIRMWARE:
        return  # before it, no GPU is run by its firmware
    assert any(name.startswith("gsp") for name in rootfs.firmware), (
        f"/lib/firmware/nvidia/{rootfs.driver_version} of the guest image has "
        f"{', '.join(rootfs.firmware) or 'nothing'}, expected gsp_*.bin: without it the module is "
        f"loaded and starts no GPU (RmInitAdapter failed). Was the image full? {ANEW}"
    )


@pytest.mark.clause("rootfs.driver", "rootfs.toolkit")
def test_programs_can_be_run(rootfs: Rootfs) -> None:
    found = rootfs.programs
    bad = [
        f"{path} ({found.get(path) or 'missing'})"
        for path in PROGRAMS
        if not found.get(path, "").startswith("755 ")
    ]
    assert not bad, (
        f"in the guest image these are not there to be run: {', '.join(bad)}. nvidia-smi comes "
        "with the driver, nvidia-container-runtime-hook with the toolkit since 1.11.0, "
        "nvidia-container-cli with libnvidia-container-tools"
    )


@pytest.mark.clause("rootfs.driver", "rootfs.toolkit")
def test_libraries_are_found_by_the_loader(rootfs: Rootfs, profile: Profile) -> None:
    missing = [n for n in profile.guest.libraries if n not in rootfs.libraries]
    assert not missing, (
        f"the loader's cache of the guest image has no {', '.join(missing)}: the hook or "
        "nvidia-smi would not start. If the files are there, 'ldconfig' was not run in the image "
        "(kata-containers #5594)"
    )


@pytest.mark.clause("rootfs.toolkit")
def test_toolkit_is_set_for_a_hook_in_the_guest(rootfs: Rootfs) -> None:
    found = list(toolkit.harmful(rootfs.toolkit))
    assert not found, (
        f"{TOOLKIT_CONFIG} of the guest image has settings that break the hook: "
        f"{'; '.join(found)}. Expected are the defaults: take these lines out in the base image"
    )


@pytest.mark.clause("rootfs.hook")
def test_hook_is_an_executable_file(rootfs: Rootfs) -> None:
    assert rootfs.hook_mode == HOOK_MODE, (
        f"{rootfs.hook} of the guest image is '{rootfs.hook_mode or 'missing'}', and '755 "
        "regular file' is wanted: kata's agent passes over what is not executable or is a symbolic "
        "link, without a word (CC-0.8.0, agent/src/sandbox.rs, find_hooks)"
    )


@pytest.mark.clause("rootfs.hook")
def test_hook_says_what_it_should(rootfs: Rootfs) -> None:
    lines = [line for line in rootfs.hook_text.splitlines() if line.strip()]
    assert lines and lines[0] == "#!/bin/bash", (  # noqa: PT018  # an empty file has no first line
        f"{rootfs.hook} of the guest image begins with {lines[:1]}, expected '#!/bin/bash': an "
        f"option there (-x) is an error to kata's agent, and none is no script; {ANEW}"
    )
    calls = [line.split() for line in lines if not line.startswith("#")]
    known = [words for words in calls if rootfs.programs.get(words[0], "").startswith("755 ")]
    assert known, (
        f"{rootfs.hook} of the guest image calls {[words[0] for words in calls]}, none of them a "
        f"program that is there to be run ({', '.join(rootfs.programs)}): the guide's calls the "
        f"old name, which only a package's scriptlet links; {ANEW}"
    )
    assert '"$@"' in known[-1], (
        f'{rootfs.hook} of the guest image runs {" ".join(known[-1])}, without "$@": kata\'s '
        f"agent gives it the word 'prestart', and unquoted it may become two; {ANEW}"
    )


@pytest.mark.clause("rootfs.umount")
def test_no_resolv_conf_is_left(rootfs: Rootfs) -> None:
    assert rootfs.resolv_conf == rootfs.base_resolv_conf, (
        f"/etc/resolv.conf of the guest image was changed; it says:\n{rootfs.resolv_conf}\nand the "
        f"base image's:\n{rootfs.base_resolv_conf}"
    )


@pytest.mark.clause("rootfs.umount")
def test_no_loop_device_is_left(rootfs: Rootfs, host: Host) -> None:
    loops = host.check_output("losetup --associated %s", rootfs.image)
    assert not loops, (
        f"loop devices still hold the guest image: {loops}; 'losetup --detach' takes one away; who "
        "uses it, 'fuser -v' tells"
    )


@pytest.mark.clause("rootfs.umount", "rootfs.mount")
def test_no_mount_is_left(rootfs: Rootfs, host: Host) -> None:
    command = "findmnt --json --list --output TARGET,SOURCE"
    wanted = f"'{command}' should have printed JSON"
    mounts = read(host.check_output(command), Mounts, wanted).filesystems
    targets = [mount.target for mount in mounts]
    left = [target for target in targets if target.startswith(MOUNT_POINT)]
    assert not left, (
        f"the guest image is mounted where the host sees it: {', '.join(left)}; 'umount -R "
        f"{MOUNT_POINT}' takes it away, and {RECOVER} what a killed run left"
    )
    system = ("/proc", "/sys", "/dev", "/dev/pts")
    covered = [t for t in system if targets.count(t) != 1]
    assert not covered, (
        f"{', '.join(covered)} of the host is not mounted exactly once: the guest's mounts leaked "
        "out, as the guide's would with shared propagation; see 'findmnt', unmount the upper one"
    )
