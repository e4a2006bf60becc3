"""The guide followed by hand in a lab: what it promises is there, and gone again afterwards.

With the images that a run has made there; `tox -e bench` follows the guide from its beginning.
"""

from __future__ import annotations

import json
import math
import subprocess
from collections.abc import Iterator

import pytest

from tests.vlab.lab import CONTAINER, IMAGE, REMOTE, RUN, SCRIPT, Finished, Lab, identified
from vlab.qemu import GPU_CLASS, GPU_ID

pytestmark = pytest.mark.timeout(3600)

CONFIGURATION = "/etc/kata-containers/configuration.toml"
GROUP = "/dev/vfio/$(ls /dev/vfio | grep -v vfio)"
GPU = f"{GPU_CLASS}: {GPU_ID}"
AUDIO = "0000:01:00.1"
MEMBERS = "/sys/bus/pci/drivers/vfio-pci/0000:*"


@pytest.fixture(scope="module")
def host(kept_lab: Lab, whole_run: Finished) -> Lab:
    """The lab as the guide leaves it before a container is run."""
    (stage,) = whole_run.events("stage", name="rootfs", state="ok")
    kept_lab.put(SCRIPT, REMOTE)
    kept_lab.do(f"ROOTFS={stage['facts']['image']} sh {REMOTE} kata gpu network")
    kept_lab.do(f"sed -i 's/^# enable_debug/enable_debug/' {CONFIGURATION}")
    return kept_lab


@pytest.fixture(scope="module")
def at_first(host: Lab) -> str:
    """What there was of containers before the first one."""
    return host.remains()


@pytest.fixture(scope="module")
def refusals(host: Lab, at_first: str) -> dict[str, str]:
    """What kata says to a device that cannot be passed through; nothing is left of the tries."""
    run = f"{RUN} --rm --device {GROUP} {IMAGE} refused true"
    host.do(f"sed -i s/root-port/no-port/ {CONFIGURATION}")
    said = {"no port": host.do(run, status=1)}
    host.do(f"sed -i s/no-port/root-port/ {CONFIGURATION}")
    host.do(f"echo {AUDIO} > /sys/bus/pci/drivers/vfio-pci/unbind")
    host.do(f"echo > /sys/bus/pci/devices/{AUDIO}/driver_override")
    host.do(f"modprobe snd_hda_intel && echo {AUDIO} > /sys/bus/pci/drivers/snd_hda_intel/bind")
    said["stranger"] = host.do(run, status=1)
    host.step("gpu")
    assert host.remains() == at_first
    return said


@pytest.fixture(scope="module")
def container(host: Lab, refusals: dict[str, str]) -> str:
    """The container with the GPU; what the guide's commands printed while it was made."""
    return host.step("container")


@pytest.fixture(scope="module")
def bare(host: Lab, container: str) -> Iterator[subprocess.Popen[str]]:
    """A second container beside it, without ``--device``; it ends with 3 on SIGTERM."""
    script = 'trap "exit 3" TERM; echo ready; while :; do sleep 1; done'
    running = host.begin(f"{RUN} --rm {IMAGE} bare sh -c '{script}'")
    assert running.stdout is not None
    assert running.stdout.readline() == "ready\n", running.communicate()[0]
    yield running
    running.kill()
    running.communicate()


def test_the_whole_group_is_bound_to_vfio(host: Lab) -> None:
    assert host.do(f"cat {MEMBERS}/class").split() == ["0x038000", "0x040300"]
    assert host.do(f"test -c {GROUP} && readlink {MEMBERS}/iommu_group | sort -u | wc -l") == "1\n"


def test_without_a_port_the_device_is_refused(refusals: dict[str, str]) -> None:
    assert "cold_plug_vfio= or hot_plug_vfio= port is not set for device" in refusals["no port"]


def test_a_group_with_a_member_of_another_driver_is_refused(
    host: Lab, refusals: dict[str, str]
) -> None:
    assert "exitting QMP loop, command cancelled" in refusals["stranger"]
    assert "is not viable" not in refusals["stranger"], "kata's answer has no word of QEMU's"
    assert "is not viable" in host.do("journalctl --no-pager -t kata | grep qemuPid=")


def test_the_container_is_a_machine_of_its_own(host: Lab, container: str) -> None:
    assert host.inside("uname -r") != host.do("uname -r")
    assert "3 received" in container, container


def test_the_container_sees_exactly_the_device(
    host: Lab, container: str, bare: subprocess.Popen[str]
) -> None:
    first, *others = host.do(
        f"for d in {MEMBERS}; do lspci -n -s $(basename $d); done"
    ).splitlines()
    there, elsewhere = host.functions(CONTAINER), host.functions("bare")
    assert list((there - elsewhere).elements()) == [identified(first)], "kata plugs the first alone"
    assert len(others) == 1
    assert GPU in there
    assert GPU not in elsewhere


def test_the_device_computes_and_does_dma_for_the_container(host: Lab, container: str) -> None:
    device = json.loads(host.inside("nvidia-smi --standin-selftest"))
    assert device["factorial"] == math.factorial(device["factorial_of"])
    assert device["factorial_of"] > 5
    assert device["dma_ok"] is True
    assert device["dma_bytes"] > 0


VFIO_INTERRUPTS = "awk '/vfio-msix/ {n += $2 + $3} END {print n + 0}' /proc/interrupts"
ACCESS_PLATFORM = 33  # the feature's bit (virtio 1.2): DMA goes by the IOMMU's addresses


def test_the_device_is_reached_by_interrupts_and_by_dma_through_the_iommu(
    host: Lab, container: str
) -> None:
    before = int(host.do(VFIO_INTERRUPTS))
    host.inside("nvidia-smi -L")
    assert int(host.do(VFIO_INTERRUPTS)) > before
    gpu = "/sys/bus/pci/devices/0000:01:00.0"
    features = host.inside(f"cat {gpu}/virtio*/features").strip()
    assert features[ACCESS_PLATFORM] == "1"
    assert int(host.do(f"wc -c < {gpu}/config")) == 4096, "PCI Express, as kata looks for it"
    assert "flr" in host.do(f"cat {gpu}/reset_method")


def test_hooks_are_in_the_journal(host: Lab, container: str) -> None:
    said = host.do("journalctl --no-pager -t kata")
    for words in ("found prestart hook", "execute hook", "exit status of hook", "finished"):
        assert words in said


def test_exit_status_and_streams(host: Lab, container: str) -> None:
    assert sorted(host.inside("echo out; echo err >&2; exit 7", status=7).split()) == ["err", "out"]


def test_a_terminal_has_the_size_of_the_callers(host: Lab, container: str) -> None:
    # The size comes after the process has started, as with every runtime.
    wait = 'tty; until [ "$(stty size)" = "33 99" ]; do sleep 0.1; done; exit 5'
    execute = f"ctr task exec -t --exec-id terminal {CONTAINER} sh -c '{wait}'"
    host.do(f"cat > /root/terminal <<'END'\nstty rows 33 cols 99\n{execute}\nEND")
    said = host.do("timeout 60 script -qec 'sh /root/terminal' /dev/null", status=5)
    assert "/dev/pts/0" in said


def test_without_the_device_there_is_no_gpu(host: Lab, bare: subprocess.Popen[str]) -> None:
    assert host.do("ctr task ls | grep -c RUNNING") == "2\n", "two machines at once"
    host.inside("! nvidia-smi && ! test -e /dev/nvidia0", "bare")


def test_a_signal_and_an_exit_status_go_through(host: Lab, bare: subprocess.Popen[str]) -> None:
    host.do("ctr task kill --signal SIGTERM bare")
    assert bare.wait(60) == 3
    assert "bare" not in host.do("ctr container ls; ps -eo args")


def test_the_model_answers(host: Lab, container: str) -> None:
    models = host.step("model")
    assert "Qwen1.5-1.8B-Chat" in models
    answer = json.loads(host.step("ask").splitlines()[-1])
    said = answer["choices"][0]["message"]["content"]
    assert "机密容器" in said.replace("什么是机密容器？", "")
    assert answer["usage"]["completion_tokens"] > 0


def test_a_machine_that_dies_leaves_nothing(host: Lab, container: str, at_first: str) -> None:
    host.do("systemctl stop by-hand-model || true; kill -9 $(pgrep -f 'sandbox-[a]rch')")
    host.do("timeout 60 sh -c 'until ctr task ls | grep -q STOPPED; do sleep 0.2; done'")
    assert "137" in host.do(f"ctr task rm {CONTAINER}; ctr container rm {CONTAINER}")
    assert host.remains() == at_first
    assert host.do(f"fuser {GROUP}", status=1) == "", "nobody holds the group"
