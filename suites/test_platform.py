"""The host meets the guide's preconditions."""

import re

import pytest

from fixtures.common.capacity import gib
from fixtures.names import version
from fixtures.platform import virtcca
from fixtures.platform.stage import RUST, Platform
from fixtures.platform.virtcca import Tee
from fixtures.profile import Profile
from harness.host.programs import advice
from harness.outcome import not_assessed
from harness.run.stage import Run


@pytest.mark.clause("platform.kernel")
def test_kernel_is_of_the_wanted_release(platform: Platform, profile: Profile) -> None:
    wanted = profile.platform.kernel_release
    assert re.match(wanted, platform.kernel), (
        f"the host runs kernel {platform.kernel}, and the profile asks for a release that begins "
        f"with '{wanted}' (the guide: OLK-6.6); boot that kernel, or correct "
        "platform.kernel_release of the profile"
    )


@pytest.mark.clause("platform.kernel-options")
def test_kernel_has_vfio(platform: Platform) -> None:
    options = platform.kernel_options
    missing = [f"{name}={value}" for name, value in options.items() if value not in ("y", "m")]
    assert not missing, (
        f"kernel {platform.kernel} has {', '.join(missing)}, and y or m is wanted (looked for in "
        "/proc/config.gz and /boot/config-*; 'n' also where neither can be read); rebuild it with "
        "these options, as the guide asks"
    )


@pytest.mark.clause("platform.iommu")
def test_there_is_an_iommu(platform: Platform) -> None:
    assert platform.iommu_units, (
        "/sys/class/iommu is empty: the kernel drives no IOMMU. Enable the SMMU in the BIOS "
        "(Advanced > MISC Config > Support Smmu = Enabled), on x86 boot with intel_iommu=on; "
        f"the kernel was booted with: {platform.command_line}"
    )


@pytest.mark.clause("platform.iommu")
def test_devices_are_in_iommu_groups(platform: Platform) -> None:
    assert platform.iommu_groups, (
        "/sys/kernel/iommu_groups is empty: no device is behind an IOMMU, so none can be passed "
        "through. Is the IOMMU disabled on the command line (iommu=off, arm-smmu.disable_bypass)? "
        f"The kernel was booted with: {platform.command_line}"
    )


@pytest.mark.clause("platform.iommu")
def test_iommu_translates(platform: Platform) -> None:
    kinds = sorted(set(platform.iommu_domains.values()))
    assert kinds, "no IOMMU group has a domain (/sys/kernel/iommu_groups/*/type): none translates"
    assert any(kind.startswith("DMA") for kind in kinds), (
        f"the domains of the IOMMU's groups are {' and '.join(kinds)}, and DMA or DMA-FQ "
        "is wanted: 'identity' means that devices reach all memory untranslated. Take iommu=pt and "
        f"iommu.passthrough=1 off the command line: {platform.command_line}"
    )


@pytest.mark.clause("platform.docker")
def test_docker_is_new_enough(platform: Platform, profile: Profile) -> None:
    bound = profile.platform.docker_newer_than
    found, oldest = version(platform.docker or ""), version(bound)
    assert found is not None, (
        "'docker version' tells no server version; is docker.service running? It said: "
        f"{platform.docker_says}"
    )
    assert oldest is None or found > oldest, (
        f"docker server {platform.docker} is too old: the guide asks for one newer than {bound}; "
        "openEuler's docker-engine package may be 18.09 (tarsier-oerv #232), docker's own is newer"
    )


@pytest.mark.clause("platform.containerd")
def test_containerd_answers(platform: Platform) -> None:
    assert platform.containerd is not None, (
        "'ctr version' gets no answer; is containerd.service running? It said: "
        f"{platform.containerd_says}"
    )
    assert "Server:" in platform.containerd, (
        f"'ctr version' names no server: {platform.containerd}; see 'systemctl status containerd'"
    )


@pytest.mark.clause("platform.containerd")
def test_containerd_lets_the_guests_log_through(platform: Platform, profile: Profile) -> None:
    if not profile.kata.enable_debug:
        not_assessed("the profile wants no debug log (kata.enable_debug = false)")
    if platform.containerd_level not in ("debug", "trace"):
        not_assessed(
            f"containerd's log level is '{platform.containerd_level}': only at debug does kata's "
            "shim pass the guest's log on, whatever enable_debug says in kata's configuration, so "
            'that nobody can tell what the guest hook said or how it ended. Set level = "debug" '
            "in [debug] of /etc/containerd/config.toml, then 'systemctl restart containerd'"
        )


@pytest.mark.clause("platform.kata")
def test_kata_is_the_go_runtime(platform: Platform) -> None:
    if platform.kata_shim is None:
        not_assessed("there is no shim to ask")
    if RUST in platform.kata_shim_says:
        not_assessed(
            f"{platform.kata_shim} is kata's Rust runtime ({platform.kata_shim_says}): it has a "
            "configuration and a log of its own, and kata-ctl for kata-runtime. None of them is "
            "known here; set kata.runtime of the profile to the Go runtime's shim, if there is one"
        )


@pytest.mark.clause("platform.kata")
def test_containerd_finds_the_kata_shim(platform: Platform, profile: Profile) -> None:
    if platform.kata_shim is None and platform.containerd is None:
        not_assessed("containerd does not run: where it looks for shims is told by its process")
    assert platform.kata_shim is not None, (
        f"containerd finds no shim for '{profile.kata.runtime}': neither on the PATH of its "
        "service nor beside its binary. Install kata-containers (base deployment of kata-virtcca), "
        "link the shim into /usr/local/bin, or correct kata.runtime of the profile"
    )


@pytest.mark.clause("platform.kata-check")
def test_kata_says_that_the_host_will_do(platform: Platform) -> None:
    status, said = platform.kata_check
    assert status == 0, (
        f"'kata-runtime check' ended with {status}: {said}\n"
        "it asks for the modules kvm, vhost, vhost_net and vhost_vsock (and lets pass if the last "
        "is not there, without which no container starts): modprobe them; or is kata-runtime not "
        "there? " + advice(["kata-runtime"])
    )


@pytest.mark.clause("platform.programs")
def test_programs_of_all_stages_are_there(platform: Platform) -> None:
    lacking = [f"{', '.join(some)} (stage {name})" for name, some in platform.lacking.items()]
    assert not lacking, (
        f"the host lacks programs that stages call: {'; '.join(lacking)}: "
        f"{advice({program for some in platform.lacking.values() for program in some})}"
    )


@pytest.mark.clause("platform.preflight")
def test_nothing_stands_in_the_way_of_later_stages(platform: Platform, run: Run[Profile]) -> None:
    if run.provision == "never":
        not_assessed("nothing is made with --provision never, so nothing can be in its way")
    found = [f"stage {f.stage}: {f.says} [{f.clause}]; {f.advice}" for f in platform.foreseen]
    assert not found, (
        "expected is that all that the profile names is on the host, and nothing that stages will "
        "make; each of these would be met later on, some after hours:\n" + "\n".join(found)
    )


@pytest.mark.clause("platform.gpu")
def test_gpus_are_fitted(platform: Platform, profile: Profile) -> None:
    wanted = profile.gpu
    selector = " and ".join(wanted.bdf) or (
        f"vendor {wanted.vendor} and class {' or '.join(wanted.classes)}"
    )
    count = wanted.number or 1
    assert len(platform.gpus) >= count, (
        f"of the {platform.pci_functions} PCI functions of the host {len(platform.gpus)} fit the "
        f"profile's selector ({selector}), and {count} are to be passed through: "
        f"{', '.join(platform.gpus) or 'none'}. Is the card seated and powered ('lspci -nn')?"
    )


@pytest.mark.clause("platform.room")
def test_there_is_room_on_disk(platform: Platform) -> None:
    short = [str(room) for room in platform.disk if room.short]
    assert not short, (
        f"too little room: {'; '.join(short)}. Make room, or set guest.work_image, guest.grow or "
        "platform.space of the profile to what the lab has"
    )


@pytest.mark.clause("platform.room")
def test_there_is_memory_for_the_guest(platform: Platform, profile: Profile) -> None:
    needed = 2 * profile.kata.default_memory << 20  # the container without the GPU is a second one
    assert platform.memory_available >= needed, (
        f"{gib(platform.memory_available)} of memory are available, and two guests at once, one "
        f"with and one without the GPU, are to get {gib(needed)} (kata.default_memory for each), "
        "all of it pinned where there is a device. Stop what else "
        "runs, or lower kata.default_memory; a virtCCA guest also needs as much secure memory, "
        "which the BIOS sets aside"
    )


@pytest.fixture
def tee(platform: Platform, profile: Profile) -> Tee:
    """The facts about the host's TEE; not assessed where the profile expects no TEE."""
    if platform.tee is None:
        not_assessed(
            f"profile '{profile.name}' says that its host has no TEE (platform.tee.kind = "
            "'none'); virtCCA needs Kunpeng silicon"
        )
    return platform.tee


@pytest.mark.clause("platform.tee")
def test_machine_can_have_virtcca(platform: Platform, tee: Tee) -> None:
    found = (platform.machine, tee.page_size)
    assert found == ("aarch64", 4096), (
        f"the machine is {found[0]} with pages of {found[1]} bytes; virtCCA is on aarch64 with "
        "4096 alone. For a host without it, set platform.tee.kind = 'none' in the profile"
    )


@pytest.mark.clause("platform.tee")
def test_firmware_has_a_tmm(tee: Tee) -> None:
    assert tee.tmm, (
        "the kernel log has no 'TMM feature0: 0x...': the kernel found no TEE management monitor. "
        "Is the firmware one with virtCCA, is secure memory set aside in the BIOS, and was "
        "virtcca_cvm_host=1 given at boot? (evidence: dmesg; 'journalctl -k -b' goes back further)"
    )


@pytest.mark.clause("platform.tee")
def test_kvm_makes_confidential_machines(tee: Tee) -> None:
    assert tee.kvm == 1, (
        f"KVM answers {'nothing' if tee.kvm is None else tee.kvm} to KVM_CHECK_EXTENSION "
        f"{virtcca.KVM_CAP_ARM_TMM} (KVM_CAP_ARM_TMM), and 1 is wanted"
        f"{': ' + tee.kvm_says if tee.kvm_says else ''}. Is this the kernel with virtCCA "
        "(CONFIG_HISI_VIRTCCA_HOST), booted with virtcca_cvm_host=1?"
    )


@pytest.mark.clause("platform.tee-passthrough")
def test_boot_parameters_are_given(platform: Platform, profile: Profile, tee: Tee) -> None:
    wanted = profile.platform.tee.parameters
    missing = virtcca.missing_parameters(platform.command_line, wanted, tee.module_options)
    assert not missing, (
        f"the kernel was booted without {' '.join(missing)}, which virtCCA's device passthrough "
        "asks for; add them with 'grubby --update-kernel=ALL --args=...' and reboot. "
        f"The command line is: {platform.command_line}; of modules modprobe.d has: "
        f"{' '.join(tee.module_options) or 'nothing'}"
    )


@pytest.mark.clause("platform.tee-passthrough")
def test_secure_smmu_is_up(tee: Tee) -> None:
    assert tee.secure_smmus, (
        "the kernel log has no 'S_SMMU: secure smmu id:N init end!': no secure SMMU, so no device "
        "can be given to a confidential machine. Set Advanced > MISC Config > Support Smmu = "
        "Enabled in the BIOS (evidence: dmesg)"
    )


@pytest.mark.clause("platform.tee-passthrough")
def test_secure_smmu_has_no_errors(tee: Tee) -> None:
    assert not tee.smmu_errors, (
        "the kernel log has errors of the secure SMMU, whatever it says besides:\n"
        + "\n".join(tee.smmu_errors)
        + "\n'failed to delegate device': another device under the same root port is in use, as "
        "all of them are delegated together. The firmware or the BIOS lacks the rest"
    )
