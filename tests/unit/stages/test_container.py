"""container: why one does not start, what of it is looked at, and the control without a device."""

from __future__ import annotations

import json
import subprocess
from dataclasses import replace

import pytest

from fixtures.common.findings import reported
from fixtures.container import hook_chain
from fixtures.container.lifecycle import REMOVE, START
from fixtures.container.sandbox_log import GUEST
from fixtures.container.stage import SERVER_WORDS, exec_argv
from fixtures.platform import virtcca
from harness.host.command import CommandFailed
from harness.run.stage import StageFailed
from harness.text import CUT
from tests.unit.replay import Reply, Words
from tests.unit.stages.conftest import MakeLab
from tests.unit.stages.lab import Lab, Refusal, record

FACTS = record().facts["container"]
ID, PID = FACTS["id"], FACTS["machine"]["pid"]
BARE = f"{record().profile['container']['name']}-bare-{record().run_id}"
[NODE] = [group["node"] for group in record().facts["gpu"]["groups"]]
SMI = "nvidia-smi --query-gpu"
HOLDERS = "find /proc/[0-9]*/fd"
DRIVER = 'echo "program'
BOOT = f"kernel {FACTS['guest_kernel']}\nboot {FACTS['boot_id']}\n"
HOOKS = GUEST
NO_GPU = "RuntimeError: Failed to infer device type\n"  # vLLM, of a machine without one
IDS = {"container": ID, "bare_container": BARE}

# What containerd or kata says, and what is to be done.
SAYS = [
    ("vfio device: port is not set for device", "kata-containers #9014"),
    ('runtime "io.containerd.kata.v2" binary not installed "containerd-shim-kata-v2"', "shim"),
    (f"vfio: group {NODE[-1]} is not viable", "gpu suite"),
    ("Could not open '/dev/vfio/6': No such file or directory", "taken from vfio-pci meanwhile"),
    ("ctr: error stating device path: stat /dev/vfio/6: no such file or directory", "lspci -k"),
    ("vfio: group is used in multiple address spaces", "kata-containers #10622"),
    (f"Could not open '{NODE}': Device or resource busy", "fuser -v /dev/vfio"),
    ("vfio_dma_map = -14 (Bad address)", "kata-containers #10354"),
    ("qemu-system-x86_64: Cannot allocate memory", "kata.default_memory"),
    # QEMU, hw/vfio/common.c and accel/kvm/kvm-all.c
    ("vfio 0000:01:00.0: error getting device from group 4: No such device", "bound to vfio-pci"),
    ("Could not access KVM kernel module: No such file or directory", "/dev/kvm"),
    ("failed to inject devices after CDI timeout of 100 seconds", "/var/run/cdi"),
    ("rpc error: desc = context deadline exceeded", "a slow guest, or, from kata 3.11"),
    # kata's own words, virtcontainers/qemu.go (with its spelling) and sandbox.go
    ("Number of PCIe Root Ports exceeed allowed max of 16", "fewer GPUs"),
    ("Number of PCIe Root Ports exceed allowed max of 16", "fewer GPUs"),
    ("failed to create shim task: unsupported device type", "it takes an NVSwitch for a bridge"),
    # Of another file than VFIO's, and nobody's group.
    ("write /sys/fs/cgroup/x/cgroup.procs: device or resource busy", "journal-kata.txt"),
    ("something that nobody knows yet", "journal-kata.txt"),
]


@pytest.mark.case(
    "kata",
    "VFIO's refusals, no port, no shim, CDI that does not come",
    source="kata-containers #9014, #10354, #10622",
)
@pytest.mark.parametrize("stage", IDS)
@pytest.mark.parametrize(("says", "hint"), SAYS)
def test_a_container_that_does_not_start_has_its_likely_cause_told(
    lab: Lab, stage: str, says: str, hint: str
) -> None:
    Refusal(
        "",
        lambda host: host.reply("ctr run", IDS[stage], status=1, err=f"ctr: {says}\n"),
        (f"Stage '{stage}' failed", "ctr run --detach", says),
        hint,
        "container.run",
    ).of(lab, stage)
    assert lab.journal() == [f"ctr run {IDS[stage]}"]  # it may have come about all the same


def test_a_container_that_takes_too_long(lab: Lab) -> None:
    lab.host.reply("ctr run", ID, status=124, seconds=lab.host.paced(600))
    with pytest.raises(StageFailed, match=r"ctr run .* was still running after \d+ s"):
        lab.bring("container")


def test_every_group_is_given_and_the_network_and_the_mounts(make_lab: MakeLab) -> None:
    mount = "type=bind,src=/srv/models,dst=/models,options=rbind:ro"
    lab = make_lab(settings={"container": {"mounts": [mount]}})
    lab.host.reply("ctr run", mount)
    lab.bring("container")
    [words] = [words for words in lab.host.asked if START in words]
    line = " ".join(words)
    assert f"--mount {mount}" in line
    assert f"--device {NODE}" in line
    assert f"--with-ns=network:{lab.facts['network'].netns}" in line


def test_the_control_is_given_no_device_and_no_network(lab: Lab) -> None:
    lab.bring("bare_container")
    [words] = [words for words in lab.host.asked if START in words]
    assert not {"--device", "--with-ns"} & {word.partition("=")[0] for word in words}


BOOTED = 'vmconsole="{\\"msg\\":\\"ready\\"}"\n'

# What is broken in the chain to the GPU: the first link that does not hold, and its cause.
SEEN = [  # of the driver, in the container
    ("program /usr/bin/nvidia-smi\nnodes /dev/nvidia*\n", hook_chain.MODULE,
     "the driver was built for another kernel"),
    ("program \nnodes /dev/nvidia0 /dev/nvidiactl\nmodule nvidia 1 0 -\n", hook_chain.PROGRAM,
     "NVIDIA_DRIVER_CAPABILITIES lacks 'utility'"),
    ("program /usr/bin/nvidia-smi\nnodes /dev/nvidia*\nmodule nvidia 1 0 -\n",
     hook_chain.NODES, "RmInitAdapter failed"),
    ("program /usr/bin/nvidia-smi\nnodes /dev/nvidia0 /dev/nvidiactl\nmodule nvidia 1 0 -\n",
     hook_chain.NODES, "nvidia-uvm was not loaded"),
]  # fmt: skip
BROKEN = [
    (HOOKS, Reply(out=BOOTED), hook_chain.FOUND, "guest_hook_path"),
    *((DRIVER, Reply(out=f"{BOOT}{says}"), *link) for says, *link in SEEN),
    (SMI, Reply(9, "No devices were found\n"), hook_chain.ANSWERS, "driver is not loaded"),
    (SMI, Reply(99, "No devices were found\n"), hook_chain.ANSWERS, "NVRM"),
]


@pytest.mark.case(
    "NVIDIA",
    "the hook ends well, and nodes or programs are missing",
    source="kata-containers #8282, #10672; libnvidia-container",
)
@pytest.mark.parametrize(("text", "reply", "name", "cause"), BROKEN)
def test_the_first_link_that_does_not_hold_is_named(
    lab: Lab, text: str, reply: Reply, name: str, cause: str
) -> None:
    lab.host.reply(text, by=lambda words: reply)
    broken = hook_chain.broken(lab.bring("container").links)
    assert broken is not None
    assert broken.name == name
    assert cause in broken.cause


@pytest.mark.case(
    "NVIDIA",
    "10,000 characters of debug log before the error, and another hook's words",
    source="nvidia-container-runtime-hook 1.17.8 with -debug, nvidia-container-cli 1.15.0",
)
def test_a_hook_that_says_much_has_its_error_at_the_end(lab: Lab) -> None:
    logs = "W1126 20:53:37.671317 29461 nvc_info.c:401] missing library libnvidia-nscq.so\n" * 130
    error = "nvidia-container-cli: container error: failed to get device cgroup mount path: no "
    hook = lab.facts["rootfs"].hook
    texts = (
        f'found prestart hook Hook {{ path: "{hook}" }} mode 100755',
        "hook /other.sh exec failed: load library failed: libnvidia-ml.so.1",
        f"hook {hook} exec failed: {logs}{error}cgroup filesystem mounted for the devices\n",
        f'exit status of hook Hook {{ path: "{hook}" }} : Exited(1)',
    )
    lines = [f"vmconsole={json.dumps(json.dumps({'msg': text}))}\n" for text in texts]
    lab.host.reply(HOOKS, out="".join(lines))
    broken = hook_chain.broken(lab.bring("container").links)
    assert broken is not None
    assert broken.name == hook_chain.SUCCEEDED
    assert error in broken.seen
    assert "no-cgroups = true" in broken.cause


def test_a_hook_that_nobody_heard_is_not_said_to_have_ended_well(lab: Lab) -> None:
    lab.host.reply(HOOKS)
    lab.host.reply(DRIVER, out=f"{BOOT}program \nnodes /dev/nvidia*\nmodule nvidia 1 0 -\n")
    broken = hook_chain.broken(lab.bring("container").links)
    assert broken is not None
    assert broken.name == hook_chain.PROGRAM
    assert "nobody heard it: containerd has to be at debug" in broken.cause


def test_a_hook_that_failed_is_told_with_what_it_said(lab: Lab) -> None:
    def failed(log: str) -> str:
        lines = log.replace("Exited(0)", "Exited(1)").splitlines(keepends=True)
        return "".join(x for x in lines if " succeeds" not in x and " finished" not in x)

    lab.host.filter(HOOKS, by=failed)
    broken = hook_chain.broken(lab.bring("container").links)
    assert broken is not None
    assert broken.name == hook_chain.SUCCEEDED
    assert "ended with Exited(1)" in broken.seen
    assert "it said: Auto-detected mode as" in broken.seen


def test_a_whole_chain_is_whole(lab: Lab) -> None:
    assert hook_chain.broken(lab.bring("container").links) is None


@pytest.mark.case("NVIDIA", "exit statuses of nvidia-smi", source="nvidia-smi(1), RETURN VALUE")
@pytest.mark.parametrize(
    ("status", "cause"),
    [
        (9, "the driver is not loaded in the guest"),
        (15, "the card has fallen off the bus"),
        (16, "has to be reset"),
        (17, "the container's cgroup keeps it from the device"),
        (18, "module and libraries are of two versions"),
        (127, "did not bring it into the container"),
        (99, "a status that nvidia-smi(1) does not list"),
    ],
)
def test_a_status_of_nvidia_smi_has_its_meaning(lab: Lab, status: int, cause: str) -> None:
    lab.host.reply(SMI, status=status, err="it says so\n")
    smi = lab.bring("container").smi
    assert smi.gpus == ()
    assert cause in smi.meaning
    assert f"nvidia-smi ended with {status}" in smi.meaning
    assert "it said: it says so" in smi.meaning


@pytest.mark.parametrize("holders", ["", "77 fuser\n"])
def test_a_group_that_no_qemu_holds_has_no_machine(lab: Lab, holders: str) -> None:
    lab.host.reply(HOLDERS, out=holders)
    assert lab.bring("container").machine is None


def test_of_several_holders_the_machine_is_qemu(lab: Lab) -> None:
    lab.host.edit(HOLDERS, old=f"{PID} ", new=f"77 fuser\n{PID} ")
    machine = lab.bring("container").machine
    assert (machine.pid, machine.groups) == (PID, (NODE,))
    assert machine.memory == record().profile["kata"]["default_memory"]


def test_of_two_machines_it_is_the_one_with_more_of_the_groups(lab: Lab) -> None:
    [group] = lab.facts["gpu"].groups
    other = replace(group, number="9", node="/dev/vfio/9")
    lab.facts["gpu"] = replace(lab.facts["gpu"], groups=(group, other))
    lab.host.reply("ctr run", f"--device {NODE} --device /dev/vfio/9")

    def holders(words: Words) -> Reply:
        qemu = f"{PID} qemu-system-x86\n"
        return Reply(out=qemu if words[-1] == NODE else f"31 qemu-system-x86\n{qemu}")

    lab.host.reply(HOLDERS, by=holders)
    machine = lab.bring("container").machine
    assert (machine.pid, machine.groups) == (PID, (NODE, "/dev/vfio/9"))


def test_the_kernels_messages_are_those_since_the_start(lab: Lab) -> None:
    attached = "attach confidential dev: 0000:00:10.0"
    full = "swiotlb buffer is full (sz: 4096 bytes)"
    lab.host.reply(virtcca.NEWEST, out="7:[4321.5] the newest\n")
    lab.host.reply(virtcca.SINCE, "7:[4321.5] the newest", out=f"{attached}\n{virtcca.DESTROYED}\n")
    lab.host.reply(GUEST, out=f"{full}\n")
    found = lab.bring("container")
    assert found.kernel_log == (attached, virtcca.DESTROYED)
    assert found.console_log == (full,)
    bad, missing = virtcca.delegation(found.kernel_log, ["0000:00:10.0", "0000:00:11.0"])
    assert (bad, missing) == ([virtcca.DESTROYED], ["0000:00:11.0"])


def test_a_container_that_does_not_answer_is_an_error_that_shows_it(lab: Lab) -> None:
    lab.host.reply(ID, DRIVER, status=1, err="ctr: cannot exec in a stopped state")
    with pytest.raises(StageFailed, match="cannot exec in a stopped state") as caught:
        lab.bring("container")
    assert isinstance(caught.value.__cause__, CommandFailed)


def test_each_command_has_an_exec_id_of_its_own(lab: Lab) -> None:
    for name in ("container", "bare_container"):
        lab.bring(name)
    ids = [words[4] for words in lab.host.asked if words[:3] == ("ctr", "task", "exec")]
    assert len(ids) == len(set(ids)) > 3


def test_what_a_ctr_that_is_killed_leaves_lies_in_the_containers_own_folder(lab: Lab) -> None:
    lab.bring("container")
    of_ctr = [w for w in lab.host.asked if START in w or w[:3] == ("ctr", "task", "exec")]
    folders = {words[words.index("--fifo-dir") + 1] for words in of_ctr}
    assert folders == {f"/run/containerd/fifo/{ID}"}
    assert 'rm -rf -- "/run/containerd/fifo/$1"\n' in REMOVE


def test_a_server_without_a_gpu_ends_and_says_why(lab: Lab) -> None:
    bare = lab.bring("bare_container")
    assert bare.server_rc == 1
    assert NO_GPU.strip() in bare.server_says
    assert bare.smi.rc != 0
    assert bare.smi.gpus == ()


def test_of_a_server_that_says_much_the_end_is_kept(lab: Lab) -> None:
    lab.host.reply(BARE, "vllm.entrypoints", status=1, out="x" * 5000, err=NO_GPU)
    says = lab.bring("bare_container").server_says
    assert (says[0], len(says)) == (CUT, 1 + SERVER_WORDS)
    assert says.endswith(NO_GPU)


def test_a_server_that_does_not_end_without_a_gpu_has_no_status(lab: Lab) -> None:
    lab.host.reply(
        BARE, "vllm.entrypoints", status=124, err="still loading\n", seconds=lab.host.paced(300)
    )
    bare = lab.bring("bare_container")
    assert (bare.server_rc, bare.server_says) == (None, "still loading\n")


def test_a_control_that_stays_is_an_error(lab: Lab) -> None:
    lab.host.reply(REMOVE, BARE, status=1)
    with pytest.raises(CommandFailed) as caught:
        lab.bring("bare_container")
    assert BARE in caught.value.message
    assert "on 'lab' ended with exit status 1" in caught.value.message


def test_the_way_back_is_in_the_journal_before_the_container_is_there(lab: Lab) -> None:
    lab.bring("container")
    asked = lab.host.asked
    journal = next(i for i, words in enumerate(asked) if "truncate -s" in " ".join(words))
    assert journal < next(i for i, words in enumerate(asked) if START in words)
    [entry] = [entry for entry in lab.run.journal.entries if entry.what.startswith("ctr run")]
    assert ID in entry.undo[0]


@pytest.mark.case(
    "kata",
    "'exiting QMP loop', behind which is a /dev/shm that is too small",
    source="kata-containers 3.15.0, QEMU 10.0.13",
)
def test_what_qemu_said_is_told_with_its_cause(lab: Lab) -> None:
    lab.host.reply("ctr run", ID, status=1, err="ctr: exiting QMP loop, command cancelled\n")
    lab.host.reply("qemuPid=", "awk", out="qemu-system-x86_64: ... = -14 (Bad address)\n")
    with pytest.raises(StageFailed, match=r"QEMU said:\nqemu-system.*Bad address") as caught:
        lab.bring("container")
    assert "/dev/shm" in (caught.value.hint or "")
    assert caught.value.clause == "container.run"


@pytest.mark.case(
    "kata",
    "a start that hangs, for more memory than the host has",
    source="kata-containers CC-0.8.0 and 3.15.0, QEMU 10.0.13",
)
def test_one_that_hangs_has_its_clause_and_its_cause_too(lab: Lab) -> None:
    lab.host.reply("ctr run", ID, status=124, seconds=lab.host.paced(600))
    lab.host.reply("qemuPid=", "awk", out="qemu-system-x86_64: invalid value of maxmem\n")
    with pytest.raises(StageFailed, match="invalid value of maxmem") as caught:
        lab.bring("container")
    assert "kata.default_memory is more" in (caught.value.hint or "")
    assert caught.value.clause == "container.run"


@pytest.mark.case(
    "kata",
    "a function that goes to VFIO, and to no guest",
    source="kata-containers CC-0.8.0 and 3.15.0, virtcontainers/sandbox.go",
)
def test_a_function_that_qemu_has_not_is_reported(lab: Lab) -> None:
    gpu = lab.facts["gpu"]
    sound = replace(gpu.members[0], bdf="0000:00:10.1")
    lab.facts["gpu"] = replace(gpu, members=(*gpu.members, sound))
    lab.bring("container")
    [finding] = [f for f in reported(lab.run) if f.id == "container.first-function"]
    assert "0000:00:10.1 went to VFIO, and to no guest" in finding.text


@pytest.mark.case(
    "kata",
    "an exec of a program that is missing, after which the agent hangs",
    source="kata-containers 3.15.0, shim and agent",
)
@pytest.mark.parametrize(("program", "status"), [("true", 0), ("no-such-program", 127)])
def test_a_program_is_looked_for_before_it_is_executed(program: str, status: int) -> None:
    done = subprocess.run([*exec_argv("x")[-3:], program], check=False, capture_output=True)
    assert done.returncode == status
