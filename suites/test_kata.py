"""kata will do what passthrough needs, by its own account."""

import pytest

from fixtures.kata.stage import Kata
from fixtures.profile import Profile
from fixtures.rootfs.stage import Rootfs
from harness.outcome import not_assessed


@pytest.mark.clause("kata.configuration")
def test_runtime_reads_the_file_that_was_set(kata: Kata, profile: Profile) -> None:
    wanted = profile.kata.configuration
    assert kata.configuration == wanted, (
        f"'kata-runtime env' says that it reads {kata.configuration}, and {wanted} was set: set "
        "kata.configuration of the profile to the former (kata takes KATA_CONF_FILE, then "
        "/etc/kata-containers, then /usr/share/defaults/kata-containers)"
    )


@pytest.mark.clause("kata.guest-hook-path")
def test_runtime_knows_the_guest_hook_path(kata: Kata, profile: Profile) -> None:
    security = kata.effective["Hypervisor"].get("SecurityInfo") or {}
    found, wanted = security.get("GuestHookPath"), profile.kata.guest_hook_path
    assert found == wanted, (
        f"'kata-runtime env' says GuestHookPath = {found!r} (Hypervisor.SecurityInfo), and "
        f"{wanted!r} is wanted: is the key in [hypervisor.qemu], and in that section alone?"
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
    found, wanted = kata.effective["Hypervisor"].get("ColdPlugVFIO"), profile.kata.cold_plug_vfio
    assert found == wanted, (
        f"the runtime says ColdPlugVFIO = {found}, and '{wanted}' is wanted: without a port kata "
        "refuses the device with 'cold_plug_vfio= or hot_plug_vfio= port is not set' "
        "(kata-containers #9014). A kata without the key is too old for this guide"
    )


@pytest.mark.clause("kata.cold-plug")
def test_runtime_will_not_hot_plug_as_well(kata: Kata) -> None:
    found = kata.effective["Hypervisor"].get("HotPlugVFIO") or "no-port"
    assert found in ("no-port", "false"), (
        f"hot_plug_vfio is '{found}' beside cold_plug_vfio: kata takes one of the two, and refuses "
        f"every container with both; take it out of {kata.configuration}"
    )


@pytest.mark.clause("kata.image")
def test_runtime_will_boot_the_enlarged_image(kata: Kata, rootfs: Rootfs) -> None:
    found = kata.effective["Image"]["Path"]
    assert found == rootfs.image, (
        f"the runtime will boot {found or 'no image'}, and {rootfs.image} is wanted; is an "
        f"'initrd' set in [hypervisor.qemu] of {kata.configuration} as well?"
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
def test_the_guests_log_reaches_the_host(kata: Kata, profile: Profile) -> None:
    if not profile.kata.enable_debug:
        not_assessed("the profile wants no debug log (kata.enable_debug = false)")
    parts = ("Hypervisor", "Agent", "Runtime")
    off = [name for name in parts if (kata.effective.get(name) or {}).get("Debug") is not True]
    assert not off, (
        f"'kata-runtime env' says that Debug is off of {', '.join(off)}, expected on of all three: "
        "else the agent's log, hooks included, does not come to 'journalctl -t kata' (#5594). Is "
        f"enable_debug in [hypervisor.qemu], [agent.kata] and [runtime] of {kata.configuration}?"
    )
