"""kata will do what passthrough needs, by its own account."""

from typing import Any

import pytest
from testinfra.host import Host

from fixtures.kata.stage import NO_ROOM, Kata
from fixtures.names import version
from fixtures.platform.stage import Platform
from fixtures.profile import Profile
from fixtures.rootfs.stage import Rootfs
from harness.outcome import not_assessed

# From this one on the agent waits for the CDI specification of a device that the runtime annotates
# (kata-containers: agent, rpc.rs, handle_cdi_devices).
CDI = (3, 11)
NVIDIA = "10de"


def told(kata: Kata, *names: str) -> Any:
    """What 'kata-runtime env' says at these keys; not assessed where this kata does not tell."""
    found: Any = kata.effective
    for name in names:
        found = found.get(name) if isinstance(found, dict) else None
    if found is None:
        not_assessed(f"'kata-runtime env' of {kata.runtime_version} has no {'.'.join(names)}")
    return found


@pytest.mark.clause("kata.configuration")
def test_runtime_reads_the_file_that_was_set(kata: Kata, profile: Profile, host: Host) -> None:
    wanted = profile.kata.configuration
    assert kata.configuration == host.file(wanted).linked_to, (
        f"'kata-runtime env' says that it reads {kata.configuration}, and {wanted} was set: set "
        "kata.configuration of the profile to the former (kata takes /etc/kata-containers, then "
        "share/defaults/kata-containers where it is installed; its shim takes KATA_CONF_FILE of "
        "containerd's environment before both)"
    )


@pytest.mark.clause("kata.guest-hook-path")
def test_runtime_knows_the_guest_hook_path(kata: Kata, profile: Profile) -> None:
    # 'kata-runtime env' tells it from kata 3.3 on; before, the files that it reads stand for it.
    security = kata.effective["Hypervisor"].get("SecurityInfo") or kata.hypervisor
    found = security.get("GuestHookPath", security.get("guest_hook_path"))
    wanted = profile.kata.guest_hook_path
    assert found == wanted, (
        f"kata's guest_hook_path is {found!r}, and {wanted!r} is wanted: is the key in "
        f"[hypervisor.qemu] of {files(kata)}, and in that section alone?"
    )


@pytest.mark.clause("kata.guest-hook-path")
def test_guest_hook_path_is_where_the_hook_is(kata: Kata, rootfs: Rootfs) -> None:
    wanted = f"{kata.hypervisor.get('guest_hook_path')}/prestart/"
    assert rootfs.hook.startswith(wanted), (
        f"kata's agent looks for hooks in {wanted}, and the hook is {rootfs.hook}: it would run "
        "nothing, without a word"
    )


@pytest.mark.clause("kata.cold-plug")
def test_runtime_will_cold_plug_vfio(kata: Kata, profile: Profile) -> None:
    found, wanted = told(kata, "Hypervisor", "ColdPlugVFIO"), profile.kata.cold_plug_vfio
    assert found == wanted, (
        f"the runtime says ColdPlugVFIO = {found}, and '{wanted}' is wanted: without a port kata "
        "refuses the device with 'cold_plug_vfio= or hot_plug_vfio= port is not set' "
        f"(kata-containers #9014); see [hypervisor.qemu] of {files(kata)}"
    )


@pytest.mark.clause("kata.cold-plug")
def test_runtime_will_not_hot_plug_as_well(kata: Kata) -> None:
    found = told(kata, "Hypervisor", "HotPlugVFIO") or "no-port"
    assert found in ("no-port", "false"), (
        f"hot_plug_vfio is '{found}' beside cold_plug_vfio: kata takes one of the two, and refuses "
        f"every container with both; take it out of {files(kata)}"
    )


@pytest.mark.clause("kata.cold-plug")
def test_the_agent_waits_for_no_cdi(kata: Kata, platform: Platform) -> None:
    nvidia = [gpu for gpu in platform.gpus if gpu.split()[-1].startswith(f"{NVIDIA}:")]
    said = told(kata, "Runtime", "Version", "Version", "Semver")
    found = version(said)
    if found is None:
        not_assessed(f"'kata-runtime env' says {said!r} for its version, which is none")
    if nvidia and (found.major, found.minor) >= CDI:
        not_assessed(
            f"kata {said} annotates {', '.join(nvidia)} for CDI, and its agent "
            "waits 100 s for a specification in /var/run/cdi of the guest, while "
            "create_container_timeout is 60 s: whether this image makes one as it boots is not "
            "known. If 'ctr run' ends with 'CDI timeout' or 'context deadline exceeded', it does "
            "not, as the guide's does not"
        )


@pytest.mark.clause("kata.memory")
def test_memory_is_set(kata: Kata, profile: Profile) -> None:
    found, wanted = kata.hypervisor.get("default_memory"), profile.kata.default_memory
    assert found == wanted, (
        f"default_memory is {found}, and {wanted} is wanted (kata.default_memory of the profile): "
        f"see [hypervisor.qemu] of {files(kata)}, of which the last one counts"
    )


@pytest.mark.clause("kata.memory")
def test_there_is_room_for_the_guests_memory(kata: Kata) -> None:
    room = kata.shared_memory
    if room is None:
        not_assessed(
            "kata's configuration has the guest's memory elsewhere than in /dev/shm "
            "or in huge pages"
        )
    assert not room.short, f"too little room: {room}. {NO_ROOM}"


@pytest.mark.clause("kata.image")
def test_runtime_will_boot_the_enlarged_image(kata: Kata, rootfs: Rootfs, host: Host) -> None:
    found, initrd = kata.effective["Image"]["Path"], kata.hypervisor.get("initrd")
    assert found == host.file(rootfs.image).linked_to, (
        f"the runtime will boot {found or 'no image'}, and {rootfs.image} is wanted: see 'image' "
        f"in [hypervisor.qemu] of {files(kata)}"
    )
    assert not initrd, (
        f"'initrd' is {initrd} beside 'image', expected is none: kata would start no container "
        f"('Image and initrd path cannot be both set'). Take it out of {files(kata)}"
    )


@pytest.mark.clause("kata.image")
def test_guest_kernel_is_the_one_that_the_driver_is_for(kata: Kata, rootfs: Rootfs) -> None:
    path = kata.effective["Kernel"]["Path"]
    if not kata.kernel:
        not_assessed(f"the release of {path} cannot be read (a compressed kernel); boot tells it")
    assert kata.kernel == rootfs.kernel_release, (
        f"the guest boots {path}, which is {kata.kernel}, and the modules in {rootfs.image} are "
        f"for {rootfs.kernel_release}: none of them would load. Build kernel and modules from one "
        "tree, with LOCALVERSION empty; 'kernel' in [hypervisor.qemu] and guest.kernel_tree of "
        "the profile have to name that build"
    )


@pytest.mark.clause("kata.configuration")
def test_the_guests_log_is_asked_for(kata: Kata, profile: Profile) -> None:
    if not profile.kata.enable_debug:
        not_assessed("the profile wants no debug log (kata.enable_debug = false)")
    parts = ("Hypervisor", "Agent", "Runtime")
    off = [name for name in parts if told(kata, name, "Debug") is not True]
    assert not off, (
        f"'kata-runtime env' says that Debug is off of {', '.join(off)}, expected on of all three: "
        "else the agent's log, hooks included, does not come to 'journalctl -t kata' (#5594). Is "
        f"enable_debug in [hypervisor.qemu], [agent.kata] and [runtime] of {files(kata)}?"
    )


def files(kata: Kata) -> str:
    """The files that kata reads, for a message."""
    return ", then ".join((kata.configuration, *kata.drop_ins))
