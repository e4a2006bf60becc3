"""What the suites judge: a good host passes, and each fault is told with its cause and advice."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import testinfra.host
from testinfra.backend import base

from fixtures.common.pci import PciDevice
from fixtures.container import nvidia_smi
from fixtures.container.qemu import QemuProcess
from fixtures.gpu import vfio
from fixtures.gpu.stage import Group
from fixtures.gpu.vfio_answer import NOT_RUN, Answer, Opened
from fixtures.network import cni
from fixtures.rootfs.contents import KERNEL_OPTIONS
from fixtures.rootfs.stage import HOOK
from harness.host.host import Host
from harness.record.devices import GuestDevice
from suites import test_container as container_suite
from suites import test_gpu as gpu_suite
from suites import test_image as image_suite
from suites import test_kata as kata_suite
from suites import test_model as model_suite
from suites import test_network as network_suite
from suites import test_rootfs as rootfs_suite

Replies = Mapping[str, str | int]


# What testinfra asks every host first.
LINUX: Replies = {
    "uname -s": "Linux",
    "uname -m": "x86_64",
    "command -v command": "command",
    "cat /etc/os-release": 'ID=debian\nVERSION_ID="13"\n',
}


class Canned(base.BaseBackend):  # type: ignore[misc]  # testinfra has no types
    """A host that answers by a list of lines: with a text, or with an exit status alone."""

    NAME = "canned"

    def __init__(self, replies: Replies) -> None:
        super().__init__("canned")
        self.replies = {**LINUX, **replies}

    def run(self, command: str, *args: str, **options: object) -> base.CommandResult:
        line = self.get_command(command, *args)
        reply = self.replies.get(line, 1)
        rc, out = (reply, "") if isinstance(reply, int) else (0, reply)
        return self.result(rc, line.encode(), out.encode(), b"")


def on(*replies: Replies) -> testinfra.host.Host:
    """A host with these replies; the later ones count."""
    backend = Canned({line: reply for each in replies for line, reply in each.items()})
    host = testinfra.host.Host(backend)
    backend.set_host(host)
    return host


def told(test: Callable[..., None], *facts: object) -> str:
    """What a test says when it fails."""
    with pytest.raises((AssertionError, pytest.skip.Exception)) as caught:
        test(*facts)
    return str(caught.value)


# ---------------------------------------------------------------- GPU

GPU = PciDevice("0000:01:00.0", "10de", "20f1", "0302", "7", "vfio-pci", override="vfio-pci")
SOUND = PciDevice("0000:01:00.1", "10de", "1aef", "0403", "7", "vfio-pci", override="vfio-pci")
DEVICES = "/sys/bus/pci/devices"
GPU_HOST: Replies = {
    "lspci -Dmmn -s 0000:01:00.0": '0000:01:00.0 "0302" "10de" "20f1" -ra1 "10de" "1463"',
    "ls -1 -q -- /sys/kernel/iommu_groups/7/devices": "0000:00:01.0\n0000:01:00.0\n0000:01:00.1\n",
    f"test -e {DEVICES}/0000:00:01.0/class": 0,
    f"cat -- {DEVICES}/0000:00:01.0/class": "0x060400\n",
    "test -c /dev/vfio/7": 0,
    "ls -1 -q -- /dev/vfio": "7\nvfio\n",
    f"test -e {DEVICES}/0000:00:02.0/driver": 0,
    f"realpath {DEVICES}/0000:00:02.0/driver": "/sys/bus/pci/drivers/nvme",
    f"test -L {DEVICES}/0000:01:00.0/driver": 0,
    f"realpath {DEVICES}/0000:01:00.0/driver": "/sys/bus/pci/drivers/vfio-pci",
}
WANTED_GPU: Any = SimpleNamespace(gpu=SimpleNamespace(vendor="10de", classes=("0300", "0302")))


def gpu(viable: bool | None = True, says: str = "") -> Any:
    group = Group("7", "/dev/vfio/7", (GPU, SOUND), viable, says)
    return SimpleNamespace(
        devices=(GPU,),
        groups=(group,),
        members=group.members,
        vital={"0000:00:02.0": "disk nvme0n1 with /"},
    )


def test_a_good_gpu_passes() -> None:
    facts, host = gpu(), on(GPU_HOST)
    gpu_suite.test_selected_devices_are_the_ones_that_the_profile_means(facts, WANTED_GPU, host)
    gpu_suite.test_every_gpu_is_bound_to_vfio_pci(facts, host)
    gpu_suite.test_group_is_the_devices_own(facts, host)
    gpu_suite.test_no_member_is_left_to_another_driver(facts)
    gpu_suite.test_every_group_has_its_node(facts, host)
    gpu_suite.test_every_group_is_viable(facts)
    gpu_suite.test_isolation_is_an_iommus(facts, host)
    gpu_suite.test_host_keeps_its_disk_and_its_network(facts, host)


def test_a_device_of_another_kind_is_no_gpu() -> None:
    sound = {"lspci -Dmmn -s 0000:01:00.0": '0000:01:00.0 "0403" "10de" "1aef"'}
    test = gpu_suite.test_selected_devices_are_the_ones_that_the_profile_means
    said = told(test, gpu(), WANTED_GPU, on(GPU_HOST, sound))
    assert "lspci says vendor 10de, class 0403; expected are vendor 10de and class 0300" in said
    assert "correct gpu.bdf" in said


def test_a_member_that_is_left_to_a_driver_is_told() -> None:
    facts = gpu()
    held = PciDevice("0000:01:00.1", "10de", "1aef", "0403", "7", "snd_hda_intel")
    facts.groups = (Group("7", "/dev/vfio/7", (GPU, held), True, ""),)
    said = told(gpu_suite.test_no_member_is_left_to_another_driver, facts)
    assert "{'0000:01:00.1': 'snd_hda_intel'}; expected is vfio-pci" in said


def test_a_group_that_is_another_is_told() -> None:
    other = {"ls -1 -q -- /sys/kernel/iommu_groups/7/devices": "0000:05:00.0\n"}
    said = told(gpu_suite.test_group_is_the_devices_own, gpu(), on(GPU_HOST, other))
    assert "the kernel lists ['0000:05:00.0'] there" in said
    three = "0000:01:00.0\n0000:01:00.1\n0000:09:00.0\n"
    more: Replies = {
        "ls -1 -q -- /sys/kernel/iommu_groups/7/devices": three,
        f"test -e {DEVICES}/0000:09:00.0/class": 0,
        f"cat -- {DEVICES}/0000:09:00.0/class": "0x020000\n",
    }
    said = told(gpu_suite.test_group_is_the_devices_own, gpu(), on(GPU_HOST, more))
    assert "also has {'0000:09:00.0': '0200'}" in said


def test_what_vfio_says_of_a_group_is_told() -> None:
    busy = told(gpu_suite.test_every_group_is_viable, gpu(None, "OSError: [Errno 16] busy"))
    assert "cannot be asked whether /dev/vfio/7 is viable: OSError: [Errno 16] busy" in busy
    assert "'fuser -v /dev/vfio/7'" in busy
    assert "not viable" in told(gpu_suite.test_every_group_is_viable, gpu(False))


def test_vfio_that_cannot_be_asked_ends_no_stage(local: Host) -> None:
    viable, said = vfio.viable(local, "/dev/null")
    assert viable is None
    assert "ioctl" in said


def answered(error: str = "", **changes: Any) -> Any:
    """The facts of a GPU and its sound function that VFIO has opened; ``changes`` are the GPU's."""
    given: dict[str, Any] = {
        **{"regions": "BAR 1: 64.0 GiB (mapped)", "interrupts": "INTx: 1, MSI-X: 6"},
        **{"mappable": 64 << 30, "can_reset": True, "reset_says": ""},
        **{"before": "10de20f1", "after": "10de20f1"},
    }
    sound = Opened(SOUND.bdf, "", "", 0, False, "", "10de1aef", "10de1aef")
    size = 0 if error else GIB
    memory = {"asked": GIB, "free": 4 * GIB, "pinned": size, "unpinned": size}
    facts = gpu()
    facts.addresses = (GPU.bdf,)
    devices = (Opened(GPU.bdf, **{**given, **changes}), sound)
    facts.vfio = Answer(
        error, (), devices, address_bits=48, seconds=0.3, lock_limit=65536, **memory
    )
    return facts


GIB = 1 << 30
OPENS = gpu_suite.test_vfio_opens_every_device
USES = gpu_suite.test_every_gpu_has_memory_and_interrupts_for_a_guest
RESETS = gpu_suite.test_every_device_comes_back_from_a_reset
PINS = gpu_suite.test_memory_of_the_guest_can_be_pinned


@pytest.mark.parametrize("test", [OPENS, USES, RESETS, PINS])
def test_a_device_that_vfio_opens_passes(test: Callable[[Any], None]) -> None:
    test(answered())


@pytest.mark.parametrize(
    ("test", "changes", "says"),
    [
        (USES, {"mappable": 0}, "has no BAR that a guest can map"),
        (USES, {"interrupts": "INTx: 1"}, "expected are MSI or MSI-X; it has: INTx: 1"),
        (RESETS, {"reset_says": "Connection timed out"}, "VFIO_DEVICE_RESET fails: Connection"),
        (RESETS, {"after": "ffffffff"}, "was 10de20f1 before its reset and is ffffffff after"),
        (RESETS, {"can_reset": False}, "not assessed: VFIO can reset none of the devices"),
    ],
)
def test_what_vfio_finds_of_a_device_is_told(
    test: Callable[[Any], None], changes: dict[str, Any], says: str
) -> None:
    assert says in told(test, answered(**changes))


def test_memory_that_cannot_be_pinned_is_told() -> None:
    said = told(PINS, answered("mapping memory: Cannot allocate memory"))
    assert "VFIO maps 0.0 GiB of the 1.0 GiB" in said
    assert "It may lock 65536 bytes" in said
    assert "LimitMEMLOCK=" in said
    facts = answered()
    facts.vfio = replace(facts.vfio, free=GIB, pinned=0, unpinned=0)
    assert told(PINS, facts).startswith("not assessed: only 1.0 GiB of memory are available")
    facts.vfio = replace(facts.vfio, pinned=GIB)
    assert f"unmapped 0 of {GIB} bytes" in told(PINS, facts)


@pytest.mark.case(
    "host",
    "vfio_iommu_type1 kept away by modprobe.d, which the group's viability does not show",
    source="kernel, drivers/vfio/container.c (VFIO_SET_IOMMU)",
)
def test_a_vfio_that_opens_nothing_is_told_by_one_test() -> None:
    facts = answered("choosing VFIO's type 1 IOMMU (module vfio_iommu_type1): No such device")
    facts.vfio = replace(facts.vfio, opened=())
    said = told(OPENS, facts)
    assert f"VFIO does not open {GPU.bdf}, {SOUND.bdf} as QEMU will: choosing VFIO's type 1" in said
    assert "'modprobe vfio_iommu_type1'" in said
    for test in (USES, RESETS, PINS):
        assert told(test, facts).startswith("not assessed: ")
    facts.vfio = replace(facts.vfio, error=f"{NOT_RUN}: no module named ctypes")
    assert told(OPENS, facts) == f"not assessed: {NOT_RUN}: no module named ctypes"


def test_what_the_host_lives_on_is_not_taken() -> None:
    taken = {f"realpath {DEVICES}/0000:00:02.0/driver": "/sys/bus/pci/drivers/vfio-pci"}
    test = gpu_suite.test_host_keeps_its_disk_and_its_network
    assert "disk nvme0n1 with /" in told(test, gpu(), on(GPU_HOST, taken))
    nothing = gpu()
    nothing.vital = {}
    assert told(test, nothing, on()).startswith("not assessed: ")


# ---------------------------------------------------------------- network

SHA = "a" * 64
NETWORK: Any = SimpleNamespace(
    name="vllmnet",
    netns="/var/run/netns/vllmnet",
    bridge="cni1",
    address="10.88.0.2",
    gateway="10.88.0.1",
    programs=cni.Programs("/opt/cni/bin", {}, "/opt/cni/bin/cnitool", "script", SHA),
)
PROFILE: Any = SimpleNamespace(
    network=SimpleNamespace(
        name="vllmnet", configurations="/etc/cni/net.d", cnitool=None, subnet="10.88.0.0/16"
    )
)
CHECK = (
    "env CNI_PATH=/opt/cni/bin NETCONFPATH=/etc/cni/net.d /opt/cni/bin/cnitool check vllmnet "
    "/var/run/netns/vllmnet"
)
NAT = """-P POSTROUTING ACCEPT
-N CNI-f3
-A POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE
-A POSTROUTING -s 10.88.0.2/32 -m comment --comment "name: \\"vllmnet\\"" -j CNI-f3
-A CNI-f3 -d 10.88.0.0/16 -m comment --comment "name: \\"vllmnet\\"" -j ACCEPT
-A CNI-f3 ! -d 224.0.0.0/4 -m comment --comment "name: \\"vllmnet\\"" -j MASQUERADE
"""
ROUTES = "ip -n vllmnet -4 -j route show default"
LINKS = "ip -n vllmnet -j link show"
BRIDGE = "/sys/class/net/cni1/brif"
HAIRPIN = "/sys/class/net/veth8/brport/hairpin_mode"
NETWORK_HOST: Replies = {
    "CNI_COMMAND=VERSION /opt/cni/bin/bridge": '{"supportedVersions": ["0.3.1", "0.4.0", "1.0.0"]}',
    "sha256sum /opt/cni/bin/cnitool | cut -d ' ' -f 1": f"{SHA}\n",
    "command -v ip": "ip",
    "ip addr show cni1": "    inet 10.88.0.1/16 brd 10.88.255.255 scope global cni1\n",
    ROUTES: '[{"dst": "default", "gateway": "10.88.0.1", "dev": "eth0"}]',
    f"ls -1 -q -- {BRIDGE}": "veth8\n",
    f"test -e {HAIRPIN}": 0,
    f"cat -- {HAIRPIN}": "1\n",
    "iptables -t nat -S": NAT,
    LINKS: '[{"ifname": "lo"}, {"ifname": "eth0"}]',
    CHECK: "",
    "ls -1 -q -- /var/lib/cni/networks/vllmnet": "10.88.0.2\nlast_reserved_ip.0\nlock\n",
}


def test_a_good_network_passes() -> None:
    host = on(NETWORK_HOST)
    network_suite.test_plugin_knows_the_configurations_version(NETWORK, host, "bridge")
    network_suite.test_bridge_has_the_gateways_address(NETWORK, host)
    network_suite.test_namespace_goes_out_by_the_bridge(NETWORK, host)
    network_suite.test_bridge_sends_back_where_it_came_from(NETWORK, host)
    network_suite.test_what_leaves_the_host_is_masqueraded(NETWORK, host)
    network_suite.test_namespace_is_nobody_elses(NETWORK, host)
    network_suite.test_cnitool_check_agrees(NETWORK, host, PROFILE)
    network_suite.test_address_is_leased_once(NETWORK, host)
    network_suite.test_address_is_from_the_subnet(NETWORK, PROFILE)


WRONG = {
    "test_bridge_has_the_gateways_address": ({"ip addr show cni1": ""}, "gateway 10.88.0.1"),
    "test_namespace_goes_out_by_the_bridge": ({ROUTES: "[]"}, "by nothing, expected is 10.88.0.1"),
    "test_bridge_sends_back_where_it_came_from": (
        {f"cat -- {HAIRPIN}": "0\n"},
        "is {'veth8': '0'}, expected 1 for each",
    ),
    "test_what_leaves_the_host_is_masqueraded": (
        {"iptables -t nat -S": "\n".join(NAT.splitlines()[:-1])},
        "masquerades what comes from 10.88.0.2",
    ),
    "test_namespace_is_nobody_elses": (
        {LINKS: '[{"ifname": "lo"}, {"ifname": "eth0"}, {"ifname": "tap0_kata"}]'},
        "tap0_kata is an earlier container's",
    ),
    "test_address_is_leased_once": (
        {"ls -1 -q -- /var/lib/cni/networks/vllmnet": "10.88.0.2\n10.88.0.3\nlock\n"},
        "['10.88.0.2', '10.88.0.3']",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_became_of_the_configuration_is_told(name: str) -> None:
    replies, expected = WRONG[name]
    assert expected in told(getattr(network_suite, name), NETWORK, on(NETWORK_HOST, replies))


def test_a_plugin_that_is_too_old_is_told() -> None:
    test = network_suite.test_plugin_knows_the_configurations_version
    line = "CNI_COMMAND=VERSION /opt/cni/bin/bridge"
    old = {line: '{"supportedVersions": ["0.3.1"]}'}
    assert "knows versions 0.3.1 of CNI" in told(test, NETWORK, on(NETWORK_HOST, old), "bridge")
    none = {line: 126}
    assert "ended with 126, expected 0" in told(test, NETWORK, on(NETWORK_HOST, none), "bridge")


def test_a_check_that_does_not_agree_has_its_advice() -> None:
    class Disagrees(Canned):
        def run(self, command: str, *args: str, **options: object) -> base.CommandResult:
            said = b"check: Required prevResult missing"
            return self.result(1, b"", said, b"")

    host = testinfra.host.Host(Disagrees({}))
    said = told(network_suite.test_cnitool_check_agrees, NETWORK, host, PROFILE)
    assert "ended with 1, expected 0: check: Required prevResult missing" in said
    assert "libcni's copy of the result is gone" in said


def test_a_cnitool_that_nobody_pinned_is_not_assessed() -> None:
    test, host = network_suite.test_cnitool_is_the_pinned_one, on(NETWORK_HOST)
    said = told(test, NETWORK, host, PROFILE)
    assert said.startswith("not assessed: ")
    assert SHA in said
    pinned: Any = SimpleNamespace(network=SimpleNamespace(cnitool=SimpleNamespace(sha256=SHA)))
    test(NETWORK, host, pinned)
    pinned.network.cnitool.sha256 = "b" * 64
    assert f"has sha256 {SHA}, and network.cnitool" in told(test, NETWORK, host, pinned)


# ---------------------------------------------------------------- image, kata, rootfs, ...


def image(**changes: object) -> Any:
    context = SimpleNamespace(folder="/srv/build", commit="", changed=(), sha256="")
    facts = SimpleNamespace(dockerfile="/srv/build/Dockerfile", dockerfile_sha256=SHA, buildx="")
    return SimpleNamespace(**(vars(facts) | {"context": context} | changes))


def wanted_image(kind: str = "ssh", **changes: object) -> Any:
    names = ("archive", "commit", "context_sha256", "recipe", "dockerfile_sha256")
    return SimpleNamespace(
        target=SimpleNamespace(kind=kind),
        image=SimpleNamespace(**(dict.fromkeys(names) | changes)),
    )


def test_what_no_pin_tells_is_not_assessed() -> None:
    for test in (
        image_suite.test_context_is_the_pinned_one,
        image_suite.test_dockerfile_is_the_one_that_the_profile_names,
    ):
        assert told(test, image(), wanted_image()).startswith("not assessed: ")
    pinned = image_suite.test_context_is_pinned
    assert told(pinned, image(), wanted_image("vlab")).startswith("not assessed: ")
    assert "nothing in the profile says what /srv/build has to be" in told(
        pinned, image(), wanted_image()
    )


def test_another_dockerfile_is_told() -> None:
    test = image_suite.test_dockerfile_is_the_one_that_the_profile_names
    test(image(), wanted_image(dockerfile_sha256=SHA))
    said = told(test, image(), wanted_image(dockerfile_sha256="b" * 64))
    assert f"has sha256 {SHA}, expected {'b' * 64}" in said
    assert "correct image.dockerfile_sha256" in said


def test_docker_without_buildx_is_told_with_what_to_install() -> None:
    said = told(image_suite.test_buildx_is_there, image())
    assert "says '', expected a version of buildx: install the package docker-buildx" in said


def test_a_debug_switch_that_is_off_is_told() -> None:
    parts = {name: {"Debug": name != "Agent"} for name in ("Hypervisor", "Agent", "Runtime")}
    kata = SimpleNamespace(effective=parts, configuration="/etc/kata.toml", drop_ins=())
    profile = SimpleNamespace(kata=SimpleNamespace(enable_debug=True))
    said = told(kata_suite.test_the_guests_log_is_asked_for, kata, profile)
    assert "Debug is off of Agent, expected on of all three" in said


def test_memory_that_became_another_is_told() -> None:
    container = SimpleNamespace(machine=SimpleNamespace(pid=7, memory=2048))
    profile = SimpleNamespace(kata=SimpleNamespace(default_memory=20480))
    said = told(container_suite.test_machine_has_the_memory, container, profile)
    assert "QEMU 7 has 2048 MiB, expected 20480 (kata.default_memory)" in said


def rootfs(text: str) -> Any:
    program = "/usr/bin/nvidia-container-runtime-hook"
    return SimpleNamespace(hook="/hook.sh", hook_text=text, programs={program: "755 regular file"})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "begins with [], expected '#!/bin/bash'"),
        (HOOK.replace("bash", "bash -x"), "begins with ['#!/bin/bash -x']"),
        (HOOK.replace("runtime-hook", "toolkit"), "none of them a program that is there"),
        (HOOK.replace('"$@"', "$@"), "the word 'prestart'"),
    ],
)
def test_a_hook_that_would_do_nothing_is_told(text: str, expected: str) -> None:
    rootfs_suite.test_hook_says_what_it_should(rootfs(HOOK))
    assert expected in told(rootfs_suite.test_hook_says_what_it_should, rootfs(text))


def test_a_name_that_is_not_served_is_told() -> None:
    model = SimpleNamespace(served=("other",))
    profile = SimpleNamespace(model=SimpleNamespace(name="Qwen"))
    said = told(model_suite.test_server_serves_the_model, model, profile)
    assert "/v1/models has ('other',), not 'Qwen'" in said


def under_load(failed: int = 0, before: int | None = 78_000, after: int | None = 78_000) -> Any:
    """What became of 64 at once, and of the memory."""
    level = SimpleNamespace(concurrent=64, failed=failed, error="the question has no answer")
    return SimpleNamespace(levels=(level,), memory_before=before, memory_after=after)


def test_requests_that_fail_under_load_are_told() -> None:
    test = model_suite.test_no_request_fails_under_load
    test(under_load())
    assert "2 of 64: the question has no answer" in told(test, under_load(failed=2))


def test_memory_that_load_has_taken_for_good_is_told() -> None:
    """As much as PyTorch keeps of a large batch is none of it: 1 % of the card, or 512 MiB."""
    test = model_suite.test_gpu_memory_is_back_after_load

    def card(total: int) -> Any:
        return SimpleNamespace(smi=SimpleNamespace(gpus=(SimpleNamespace(memory_total=total),)))

    small, large = card(16_000), card(81_559)
    test(under_load(after=78_815), large)
    test(under_load(before=8_000, after=8_512), small)
    assert "expected at most 815 more" in told(test, under_load(after=78_816), large)
    assert "expected at most 512 more" in told(test, under_load(0, 8_000, 8_513), small)
    assert told(test, under_load(after=None), large).startswith("not assessed: nvidia-smi says")


@pytest.mark.case(
    "kernel", "nouveau as a module that is not loaded", source="openEuler, openeuler_defconfig 6.6"
)
def test_a_guest_kernel_of_openeulers_own_configuration_passes() -> None:
    # openEuler's arch/arm64/configs/openeuler_defconfig, 6.6: nouveau is a module there.
    options = {name: good[0] for name, good in KERNEL_OPTIONS.items()} | {"CONFIG_DRM_NOUVEAU": "m"}
    facts: Any = SimpleNamespace(kernel_release="6.6.0", kernel_options=options)
    rootfs_suite.test_guest_kernel_can_load_the_driver(facts)
    facts.kernel_options = options | {"CONFIG_DRM_NOUVEAU": "y"}
    assert "CONFIG_DRM_NOUVEAU=y" in told(rootfs_suite.test_guest_kernel_can_load_the_driver, facts)


@pytest.mark.case(
    "kernel",
    "a guest without modules, or with signed ones alone",
    source="virtCCA_sdk, kata-v3.15.0 conf/virtcca.config",
)
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("CONFIG_MODULES", "n"),
        ("CONFIG_MODULE_SIG_FORCE", "y"),
        ("CONFIG_SECCOMP_FILTER", "n"),
    ],
)
def test_a_guest_kernel_that_takes_no_driver_is_told(name: str, value: str) -> None:
    options = {option: good[0] for option, good in KERNEL_OPTIONS.items()} | {name: value}
    facts = SimpleNamespace(kernel_release="6.6.0", kernel_options=options)
    said = told(rootfs_suite.test_guest_kernel_can_load_the_driver, facts)
    assert f"is configured with {name}={value}; wanted are {name}={KERNEL_OPTIONS[name][0]}" in said


@pytest.mark.case(
    "kernel",
    "no line for a device that is delegated",
    source="openEuler kernel, arm-s-smmu-v3.c of the first virtCCA kernels",
)
def test_a_kernel_that_names_no_device_is_not_assessed() -> None:
    words = ("-device", "vfio-pci,host=0000:01:00.0,bus=rp0")
    container = SimpleNamespace(kernel_log=(), machine=QemuProcess(7, words, ()))
    tee = SimpleNamespace(names_devices=False)
    test = container_suite.test_devices_are_delegated_to_the_secure_world
    platform = SimpleNamespace(tee=tee, kernel="5.10.0")
    assert told(test, container, gpu(), platform).startswith("not assessed: this kernel does not")
    tee.names_devices = True
    said = told(test, container, gpu(), platform)
    assert "no 'attach confidential dev' in the kernel's log for 0000:01:00.0" in said


def whole(**changes: object) -> Any:
    facts = {
        "kernel_release": "6.6.0",
        "driver_version": "580.95.05",
        "license": "Dual MIT/GPL",
        "uvm": "/lib/modules/6.6.0/kernel/drivers/video/nvidia-uvm.ko",
        "firmware": ("gsp_ga10x.bin", "gsp_tu10x.bin"),
    }
    return SimpleNamespace(**(facts | changes))


@pytest.mark.case(
    "NVIDIA",
    "a driver without nvidia-uvm or firmware, with which nvidia-smi may be well",
    source="NVIDIA open-gpu-kernel-modules 550.127.08",
)
def test_a_driver_without_a_part_is_told() -> None:
    test = rootfs_suite.test_driver_is_whole
    test(whole())
    assert "and CUDA does not" in told(test, whole(uvm=""))
    assert "has nothing, expected gsp_*.bin" in told(test, whole(firmware=()))
    test(whole(driver_version="460.32.03", firmware=()))


@pytest.mark.case(
    "NVIDIA",
    "the installer chooses its modules by the host's bus",
    source="nvidia-installer 580.95.05",
)
def test_modules_of_the_other_kind_are_told_from_560_on() -> None:
    test = rootfs_suite.test_driver_has_the_wanted_version

    def profile(version: str) -> Any:
        return SimpleNamespace(guest=SimpleNamespace(driver_version=version, driver_modules="open"))

    test(whole(), profile("580.95.05"))
    said = told(test, whole(license="NVIDIA"), profile("580.95.05"))
    assert "its modules are proprietary ('NVIDIA')" in said
    test(whole(driver_version="550.127.08", license="NVIDIA"), profile("550.127.08"))


def test_settings_that_break_the_hook_are_told() -> None:
    test = rootfs_suite.test_toolkit_is_set_for_a_hook_in_the_guest
    sound: Any = SimpleNamespace(toolkit={})
    test(sound)
    off = {"nvidia-container-cli": {"load-kmods": False}}
    said = told(test, SimpleNamespace(toolkit=off))
    assert "load-kmods = False in [nvidia-container-cli]" in said


def test_a_gpu_that_nvidia_smi_leaves_out_is_told_by_its_address_on_the_host() -> None:
    test = container_suite.test_nvidia_smi_lists_every_gpu
    line = "580.1, A100, GPU-{0}, 00000000:0{0}:00.0, 0x20F110DE, 40960, 0, [N/A], Disabled"
    listed = [nvidia_smi.parse(line.format(number)) for number in (1, 2)]
    devices = tuple(
        GuestDevice(f"0{n}:00.0", "10de", "20f1", "A100", f"0000:{bus}:00.0", f"rp{n}")
        for n, bus in ((1, "41"), (2, "81"))
    )
    two: Any = SimpleNamespace(devices=(GPU, replace(GPU, bdf="0000:81:00.0")))

    def container(*gpus: nvidia_smi.SmiGpu) -> Any:
        return SimpleNamespace(smi=SimpleNamespace(gpus=gpus, meaning=""), devices=devices)

    test(container(*listed), two)
    said = told(test, container(listed[0]), two)
    assert "2 GPUs were passed through, nvidia-smi lists 1" in said
    assert "all but 0000:81:00.0 (02:00.0 in the guest)" in said
    twice = told(test, container(listed[0], replace(listed[0], uuid="GPU-2")), two)
    assert "all but 0000:81:00.0" in twice


@pytest.mark.case(
    "NVIDIA",
    "a GPU with no memory of its own, or in MIG",
    source="unsloth #10703, StableSwarmUI #388",
)
def test_a_gpu_that_does_not_tell_its_memory_is_not_assessed() -> None:
    test = container_suite.test_nvidia_smi_knows_each_gpu

    def listing(memory: str) -> Any:
        line = f"580.1, H100, GPU-1, 00000000:01:00.0, 0x1, {memory}, 0, [N/A], Disabled"
        return SimpleNamespace(smi=SimpleNamespace(gpus=(nvidia_smi.parse(line),)))

    test(listing("81559"))
    assert told(test, listing("[N/A]")).startswith("not assessed: nvidia-smi does not tell")
    assert "its BAR is not mapped" in told(test, listing("0"))
