"""What kata CC-0.8.0 and 3.15.0 really said and did, judged by the stages and suites themselves."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from fixtures.common.diagnostics import best_hint
from fixtures.container import hook_chain
from fixtures.container.lifecycle import ENDED, NO_HINT, RUN_HINTS, START, remove_argv
from fixtures.container.qemu import QemuProcess
from fixtures.container.sandbox_log import GUEST, QEMU, message
from suites import test_container as container_suite
from suites import test_kata as kata_suite
from suites import test_platform as platform_suite
from tests.unit.test_judgements import told

DATA = Path(__file__).parents[1] / "data/kata"
VERSIONS = ("CC-0.8.0", "3.15.0")
HOOKS = "/usr/share/oci/hooks/prestart"
NVIDIA = f"{HOOKS}/nvidia-container-toolkit.sh"


def messages(name: str) -> tuple[str, ...]:
    return tuple(map(message, (DATA / name).read_text().splitlines()))


def traces(log: tuple[str, ...], hook: str) -> hook_chain.Traces:
    return hook_chain.Traces(
        hook_path="/usr/share/oci/hooks",
        hook=hook,
        hook_mode="755 regular file",
        environment=("NVIDIA_VISIBLE_DEVICES=all",),
        log=log,
        modules="nvidia 1 0 -",
        program="/usr/bin/nvidia-smi",
        nodes="/dev/nvidia0 /dev/nvidia-uvm /dev/nvidiactl",
        smi_status=0,
        smi_says="",
    )


def links(log: tuple[str, ...], hook: str) -> dict[str, hook_chain.Link]:
    return {link.name: link for link in hook_chain.chain(traces(log, hook))}


# ---------------------------------------------------------------- what the guest said of hooks


@pytest.mark.case(
    "kata",
    "hooks that end well, with 3, or not within 10 s, and the container starts",
    source="kata-containers 3.15.0, shim and agent",
)
@pytest.mark.parametrize(
    ("name", "holds", "how"),
    [
        ("10-ok.sh", True, "Exited(0)"),
        ("35-quiet.sh", True, "Exited(0)"),
        ("20-fail.sh", False, "Exited(3)"),
        ("30-slow.sh", False, "timeout"),
    ],
)
def test_each_hook_is_found_and_judged_by_its_own_end(name: str, holds: bool, how: str) -> None:
    found = links(messages("3.15.0/hooks.log"), f"{HOOKS}/{name}")
    assert found[hook_chain.FOUND].holds
    assert found[hook_chain.SUCCEEDED].holds is holds
    assert f"ended with {how}" in found[hook_chain.SUCCEEDED].seen
    late = "10 s, and lets it run on" in found[hook_chain.SUCCEEDED].cause
    assert late == (how == "timeout")


@pytest.mark.case(
    "kata",
    "what a hook writes, in JSON in Go's quoting, among that of other hooks",
    source="kata-containers 3.15.0, shim and agent",
)
def test_a_hooks_words_are_its_own_and_whole() -> None:
    log = messages("3.15.0/hooks.log")
    said = hook_chain.words(log, f"{HOOKS}/10-ok.sh")
    assert said.startswith("PWD=/run/kata-containers/t2\n")
    assert "args: /usr/share/oci/hooks/prestart/10-ok.sh prestart" in said
    assert not hook_chain.words(log, f"{HOOKS}/20-fail.sh")


@pytest.mark.case(
    "kata", "a good hook as shim and agent log it", source="kata-containers 3.15.0, shim and agent"
)
def test_the_projects_hook_on_a_sound_lab_has_a_whole_chain() -> None:
    found = hook_chain.chain(traces(messages("3.15.0/hook-nvidia.log"), NVIDIA))
    assert [link.holds for link in found] == [True] * len(hook_chain.LINKS)


@pytest.mark.case(
    "kata",
    "a missing hook, of which the agent says nothing",
    source="kata-containers 3.15.0, agent, hooks.rs and sandbox.rs",
)
def test_a_hook_that_is_not_among_those_found_is_not_found() -> None:
    found = links(messages("3.15.0/hooks.log"), NVIDIA)[hook_chain.FOUND]
    assert found.holds is False
    assert "found prestart hook" in found.seen


@pytest.mark.case(
    "kata",
    "no line of the guest comes to the journal, though debug is on",
    source="kata-containers CC-0.8.0 and 3.15.0, kata-containers #5594, #10458",
)
def test_where_the_guest_is_not_heard_nothing_is_broken_and_nothing_passes() -> None:
    found = hook_chain.chain(traces((), NVIDIA))
    assert hook_chain.broken(found) is None
    unheard = [link.name for link in found if link.holds is None]
    assert unheard == [hook_chain.FOUND, hook_chain.SUCCEEDED]
    container = SimpleNamespace(links=found, console_log=None)
    tee: Any = SimpleNamespace(platform=SimpleNamespace(tee=SimpleNamespace(kind="virtcca")))
    for test, what in (
        (container_suite.test_hook_chain, hook_chain.FOUND),
        (container_suite.test_guest_has_bounce_buffers_enough, tee),
    ):
        said = told(test, container, what)
        assert said.startswith("not assessed: ")
        assert "containerd has to be at debug" in said


@pytest.mark.case(
    "kata",
    "the exit status of a hook in each form that releases print",
    source="kata-containers 3.x to 4.1.0, rust-subprocess 1.2.0",
)
@pytest.mark.parametrize("line", (DATA / "hook-ends.log").read_text().splitlines())
def test_a_good_end_is_one_in_whatever_form(line: str) -> None:
    hook = f"{HOOKS}/nvidia.sh"
    assert [well for _, well in hook_chain.endings([message(line)], hook)] == [True]
    assert hook_chain.endings([line.replace("0", "1")], hook)[-1][1] is False


@pytest.mark.case(
    "kata",
    "the shim passes the guest's log on only where containerd is at debug",
    source="kata-containers CC-0.8.0 and 3.15.0, containerd-shim-v2/service.go",
)
@pytest.mark.parametrize("level", ["info", "warn", ""])
def test_a_containerd_that_is_not_at_debug_is_told(level: str) -> None:
    profile: Any = SimpleNamespace(kata=SimpleNamespace(enable_debug=True))
    platform: Any = SimpleNamespace(containerd_level=level)
    test = platform_suite.test_containerd_lets_the_guests_log_through
    assert "not assessed: containerd's log level" in told(test, platform, profile)
    platform.containerd_level = "debug"
    test(platform, profile)


# ---------------------------------------------------------------- what the runtime says


def kata(version: str, **changes: object) -> Any:
    env = json.loads((DATA / version / "env.json").read_text())
    file = {"guest_hook_path": "/usr/share/oci/hooks", "default_memory": 20480}
    facts = {
        "configuration": "/etc/kata-containers/configuration.toml",
        "drop_ins": (),
        "hypervisor": file,
        "effective": env,
        "runtime_version": version,
        "shared_memory": None,
    }
    return SimpleNamespace(**(facts | changes))


PROFILE: Any = SimpleNamespace(
    kata=SimpleNamespace(
        guest_hook_path="/usr/share/oci/hooks",
        cold_plug_vfio="root-port",
        default_memory=20480,
        enable_debug=True,
    )
)


@pytest.mark.case(
    "kata",
    "'kata-runtime env' tells no guest hook path before 3.3",
    source="kata-containers CC-0.8.0 and 3.15.0, kata-env.go",
)
@pytest.mark.parametrize("version", VERSIONS)
def test_a_kata_that_is_set_passes(version: str) -> None:
    facts = kata(version)
    kata_suite.test_runtime_knows_the_guest_hook_path(facts, PROFILE)
    kata_suite.test_runtime_will_cold_plug_vfio(facts, PROFILE)
    kata_suite.test_runtime_will_not_hot_plug_as_well(facts)
    kata_suite.test_memory_is_set(facts, PROFILE)
    kata_suite.test_the_guests_log_is_asked_for(facts, PROFILE)


@pytest.mark.case(
    "kata",
    "a drop-in that sets what the configuration has set",
    source="kata-containers CC-0.8.0 and 3.15.0, katautils/config.go",
)
@pytest.mark.parametrize("version", VERSIONS)
def test_another_hook_path_is_told_with_the_drop_in(version: str) -> None:
    other = {"guest_hook_path": "/opt/hooks", "default_memory": 4096}
    facts = kata(version, drop_ins=("/etc/kata-containers/config.d/50.toml",), hypervisor=other)
    security = facts.effective["Hypervisor"].get("SecurityInfo")
    if security:
        security["GuestHookPath"] = "/opt/hooks"
    said = told(kata_suite.test_runtime_knows_the_guest_hook_path, facts, PROFILE)
    assert "guest_hook_path is '/opt/hooks'" in said
    assert "default_memory is 4096" in told(kata_suite.test_memory_is_set, facts, PROFILE)
    assert "config.d/50.toml" in said


@pytest.mark.case(
    "kata",
    "a configuration without the keys, with --provision never",
    source="kata-containers CC-0.8.0 and 3.15.0",
)
def test_a_key_that_no_file_has_is_told() -> None:
    facts, rootfs = kata("CC-0.8.0", hypervisor={}), SimpleNamespace(hook=NVIDIA)
    assert "default_memory is None" in told(kata_suite.test_memory_is_set, facts, PROFILE)
    for test, more in (
        (kata_suite.test_runtime_knows_the_guest_hook_path, PROFILE),
        (kata_suite.test_guest_hook_path_is_where_the_hook_is, rootfs),
    ):
        assert "None" in told(test, facts, more)


def leads(to: str) -> Any:
    """A host on which every path is a link to this file, or the file itself."""
    return SimpleNamespace(file=lambda path: SimpleNamespace(linked_to=to))


@pytest.mark.case(
    "kata",
    "'kata-runtime env' tells paths with their links resolved",
    source="kata-containers CC-0.8.0 and 3.15.0",
)
@pytest.mark.parametrize("version", VERSIONS)
def test_a_path_is_compared_where_its_links_lead(version: str) -> None:
    facts, other = kata(version), leads("/other")
    profile: Any = SimpleNamespace(kata=SimpleNamespace(configuration="/etc/link.toml"))
    test = kata_suite.test_runtime_reads_the_file_that_was_set
    test(facts, profile, leads(facts.configuration))
    assert "/etc/link.toml was set" in told(test, facts, profile, other)
    image = facts.effective["Image"]["Path"]
    rootfs: Any = SimpleNamespace(image="/srv/link.img")
    kata_suite.test_runtime_will_boot_the_enlarged_image(facts, rootfs, leads(image))
    said = told(kata_suite.test_runtime_will_boot_the_enlarged_image, facts, rootfs, other)
    assert f"the runtime will boot {image}" in said


@pytest.mark.case(
    "kata", "'Image and initrd path cannot be both set'", source="kata-containers 3.15.0"
)
@pytest.mark.parametrize("version", VERSIONS)
def test_an_initrd_beside_the_image_is_told(version: str) -> None:
    facts = kata(version, hypervisor={"initrd": "/i"})
    host = leads(facts.effective["Image"]["Path"])
    rootfs = SimpleNamespace(image="/srv/rootfs.img")
    said = told(kata_suite.test_runtime_will_boot_the_enlarged_image, facts, rootfs, host)
    assert "Image and initrd path cannot be both set" in said


@pytest.mark.case(
    "kata",
    "keys that 'kata-runtime env' of a version does not have",
    source="kata-containers CC-0.8.0 and 3.15.0, kata-env.go",
)
def test_what_a_runtime_does_not_tell_is_not_assessed() -> None:
    facts = kata("CC-0.8.0", effective={"Hypervisor": {"Debug": None}})
    for test in (
        kata_suite.test_runtime_will_cold_plug_vfio,
        kata_suite.test_the_guests_log_is_asked_for,
    ):
        assert told(test, facts, PROFILE).startswith("not assessed: ")


@pytest.mark.case(
    "kata",
    "an NVIDIA GPU is annotated for CDI, and the agent waits",
    source="kata-containers 3.11.0 and later, agent, rpc.rs",
)
def test_from_3_11_on_an_nvidia_gpu_waits_for_cdi() -> None:
    nvidia: Any = SimpleNamespace(gpus=("0000:01:00.0 10de:20f1",))
    kata_suite.test_the_agent_waits_for_no_cdi(kata("CC-0.8.0"), nvidia)
    said = told(kata_suite.test_the_agent_waits_for_no_cdi, kata("3.15.0"), nvidia)
    assert said.startswith("not assessed: kata 3.15.0 annotates")
    other: Any = SimpleNamespace(gpus=("0000:00:10.0 1234:11e8",))
    kata_suite.test_the_agent_waits_for_no_cdi(kata("3.15.0"), other)
    silent = kata("3.15.0", effective={"Runtime": {}})
    assert told(kata_suite.test_the_agent_waits_for_no_cdi, silent, other).startswith(
        "not assessed: 'kata-runtime env' of 3.15.0 has no Runtime.Version"
    )


def test_without_a_shim_nobody_knows_which_runtime_it_is() -> None:
    none: Any = SimpleNamespace(kata_shim=None, kata_shim_says="")
    assert told(platform_suite.test_kata_is_the_go_runtime, none).startswith("not assessed: ")


@pytest.mark.case(
    "kata",
    "a group of GPU and audio, of which QEMU gets the first function",
    source="kata-containers CC-0.8.0 and 3.15.0, virtcontainers/sandbox.go",
)
@pytest.mark.parametrize("version", VERSIONS)
def test_of_a_group_the_first_function_is_plugged(version: str) -> None:
    argv = (DATA / version / "qemu.argv").read_text().splitlines()
    container: Any = SimpleNamespace(machine=QemuProcess(7, tuple(argv), ("/dev/vfio/4",)))
    card, sound = (SimpleNamespace(bdf=f"0000:01:00.{n}", id=str(n)) for n in (0, 1))
    gpu: Any = SimpleNamespace(devices=(card,), switches=(), members=(card, sound), groups=())
    nobody: Any = None
    container_suite.test_machine_has_every_gpu(container, gpu)
    container_suite.test_every_device_is_behind_a_port(container, gpu, nobody)
    container.pci = ("01:00.0 0302: 0 (rev a1)",)
    container_suite.test_devices_on_the_guests_bus_are_the_assigned_ones(container, gpu)
    gpu.devices = (sound,)
    said = told(container_suite.test_machine_has_every_gpu, container, gpu)
    assert "kata plugs the first function" in said


@pytest.mark.case(
    "kata",
    "a function with 256 bytes of configuration gets no root port",
    source="kata-containers CC-0.8.0 and 3.15.0, IsPCIeDevice",
)
@pytest.mark.parametrize(
    ("size", "says"),
    [(256, "not assessed: 0000:00:10.0 is no PCI Express function"), (4096, "on a bus of its own")],
)
def test_a_conventional_function_has_no_port(size: int, says: str) -> None:
    argv = ("-device", "vfio-pci,host=0000:00:10.0")
    container = SimpleNamespace(machine=QemuProcess(7, argv, ("/dev/vfio/4",)))
    gpu = SimpleNamespace(members=(SimpleNamespace(bdf="0000:00:10.0"),))
    host = SimpleNamespace(file=lambda path: SimpleNamespace(size=size))
    assert says in told(container_suite.test_every_device_is_behind_a_port, container, gpu, host)


# ---------------------------------------------------------------- why one does not start

ERRORS = [
    line
    for name in ("CC-0.8.0/ctr-errors.txt", "3.15.0/ctr-errors.txt", "ctr-errors-public.txt")
    for line in (DATA / name).read_text().splitlines()
]


@pytest.mark.case(
    "kata",
    "what ctr says of containers that do not start",
    source="kata-containers CC-0.8.0 and 3.15.0; kata-containers #10360, #11064, #13395",
)
@pytest.mark.parametrize("said", dict.fromkeys(ERRORS))
def test_what_ctr_says_leads_to_a_cause(said: str) -> None:
    assert best_hint(said, RUN_HINTS, NO_HINT) != NO_HINT


@pytest.mark.case(
    "kata",
    "QEMU's reason is in the journal, and never in ctr's error",
    source="kata-containers CC-0.8.0 and 3.15.0, QEMU 10.0.13",
)
@pytest.mark.parametrize(
    ("name", "sandbox", "cause"),
    [
        ("CC-0.8.0/qemu-not-viable.log", "notviable", "host driver"),
        ("3.15.0/qemu-not-viable.log", "notviable", "host driver"),
        ("CC-0.8.0/qemu-no-memory.log", "nomem", "more than the host has"),
        ("3.15.0/qemu-no-memory.log", "nomem", "more than the host has"),
        ("3.15.0/qemu-vfio.log", "t4", "another machine holds the group"),
        ("3.15.0/qemu-vfio.log", "t3", "/dev/shm is too small"),
    ],
)
def test_qemus_reason_is_in_the_journal(
    tmp_path: Path, name: str, sandbox: str, cause: str
) -> None:
    said = with_programs(tmp_path, ["-euc", QEMU, "sh", sandbox], journalctl=shown(name)).stdout
    assert said.startswith("qemu-system-x86_64: ")
    ctr = "ctr: failed to create shim task: exiting QMP loop, command cancelled: unknown"
    assert cause in best_hint(f"{ctr}\n{said}", RUN_HINTS, NO_HINT)


def shown(name: str) -> str:
    return f"cat '{DATA / name}'"


def with_programs(
    folder: Path, words: list[str], **programs: str
) -> subprocess.CompletedProcess[str]:
    """A script of the stages' with other programs first on its PATH."""
    for name, text in programs.items():
        (folder / name).write_text(f"#!/bin/sh\n{text}\n")
        (folder / name).chmod(0o755)
    path = {"PATH": f"{folder}:{os.environ['PATH']}"}
    return subprocess.run(
        ["sh", *words], env=os.environ | path, capture_output=True, text=True, check=False
    )


def test_a_start_gives_back_what_ctr_says(tmp_path: Path) -> None:
    done = with_programs(tmp_path, ["-euc", START, "sh", "t4", "x"], ctr='echo "$@" >&2; exit 7')
    assert (done.returncode, done.stderr) == (7, "run x\n")


@pytest.mark.case(
    "kata",
    "QEMU dies before it answers, and 'ctr run' never comes back",
    source="kata-containers CC-0.8.0 and 3.15.0, QEMU 10.0.13",
)
def test_a_start_is_ended_when_its_qemu_is_gone(tmp_path: Path) -> None:
    gone = 'msg=\\"qemu: dead\\" name=x pid=1 qemuPid=99999999 sandbox=t4 source=y'
    done = with_programs(
        tmp_path,
        ["-euc", START, "sh", "t4"],
        ctr=f"exec '{shutil.which('tail')}' -f /dev/null",
        journalctl=f'echo "{gone}"',
        sleep="",
    )
    assert done.returncode == ENDED


@pytest.mark.case(
    "kata",
    "a journal with and without the guest's lines, and of two sandboxes",
    source="kata-containers 3.15.0",
)
def test_the_guest_is_heard_at_debug_alone(tmp_path: Path) -> None:
    ours = "arch-20261126T205114Z-d77b2e"
    words = ["-euc", GUEST, "sh", ours]
    heard = with_programs(tmp_path, words, journalctl=shown("3.15.0/hook-nvidia.log")).stdout
    assert len(heard.splitlines()) == 12
    unheard = with_programs(tmp_path, words, journalctl=shown("3.15.0/qemu-good-start.log")).stdout
    other = with_programs(tmp_path, words, journalctl=shown("3.15.0/hooks.log")).stdout
    assert unheard == other == ""


@pytest.mark.case(
    "kata",
    "a good start with an error of QEMU's ('Cannot reset device')",
    source="kata-containers 3.15.0, QEMU 10.0.13",
)
def test_a_good_start_has_words_of_qemus_too_and_no_cause(tmp_path: Path) -> None:
    ours = "arch-20261126T205114Z-d77b2e"
    log = shown("3.15.0/qemu-good-start.log")
    said = with_programs(tmp_path, ["-euc", QEMU, "sh", ours], journalctl=log).stdout
    assert said.count("Cannot reset device") == 1
    assert best_hint(said, RUN_HINTS, NO_HINT) == NO_HINT


# ---------------------------------------------------------------- the end of one


def test_a_container_that_ends_well_is_asked_for_and_gone(tmp_path: Path) -> None:
    ctr = f"echo \"$@\" >>'{tmp_path}/asked'"
    assert with_programs(tmp_path, remove_argv("no-such-1")[1:], ctr=ctr).returncode == 0
    asked = (tmp_path / "asked").read_text().splitlines()
    assert asked[0] == "task kill --signal SIGKILL no-such-1"
    assert asked[-2:] == ["container rm no-such-1", "container ls --quiet"]


def test_a_container_that_stays_is_told(tmp_path: Path) -> None:
    ctr = 'case "$*" in "container ls --quiet") echo no-such-1 ;; esac'
    done = with_programs(tmp_path, remove_argv("no-such-1")[1:], ctr=ctr)
    assert (done.returncode, done.stderr) == (1, "container no-such-1 is still there\n")


@pytest.mark.case(
    "kata",
    "shim and QEMU that stay, and ctr that gets no answer",
    source="kata-containers 3.15.0, shim and agent",
)
def test_where_the_shim_hangs_the_sandboxs_processes_are_killed(tmp_path: Path) -> None:
    qemu, other = tmp_path / "qemu-fake", tmp_path / "sh-fake"
    for program in (qemu, other):
        shutil.copy("/bin/sh", program)
    names = ["-c", "read line", "sandbox-no-such-1,debug-threads=on"]
    pipes: Any = {"stdin": subprocess.PIPE}
    with (
        subprocess.Popen([qemu, *names], **pipes) as ours,
        subprocess.Popen([other, *names], **pipes) as others,
        subprocess.Popen([qemu, *names[:2], "sandbox-no-such-2"], **pipes) as next_to_it,
    ):
        hangs = 'case "$1" in task) exit 124 ;; esac'  # timeout(1) has ended it
        done = with_programs(tmp_path, remove_argv("no-such-1")[1:], ctr=hangs)
        assert done.returncode == 0
        assert ours.wait() == -9
        assert (others.poll(), next_to_it.poll()) == (None, None)
