"""The hook's chain: each link is judged by its own trace, and the first broken one is named."""

from dataclasses import replace

import pytest

from fixtures.container import hook_chain
from fixtures.container.hook_chain import Traces
from fixtures.container.nvidia_smi import memory_used, parse
from fixtures.container.qemu import QemuProcess
from fixtures.container.sandbox_log import message

HOOK = "/usr/share/oci/hooks/prestart/nvidia-container-toolkit.sh"

# As kata's runtime logs a line of the guest's console: JSON, escaped in a field of a log line. The
# hook is in Rust's Debug form, as in kata-containers #10672 (3.9) and in CC-0.8.0.
STRUCT_39 = (
    r"Hook { path: \\\"%s\\\", args: Some([\\\"nvidia-container-toolkit.sh\\\", "
    r"\\\"prestart\\\"]), env: None, timeout: None }"
)
STRUCT_CC = STRUCT_39.replace("Some(", "").replace("])", "]").replace("env: None", "env: []")


def log_with(struct: str) -> tuple[str, ...]:
    """The two messages of one hook that ends well."""
    line = 'level=debug msg="reading guest console" sandbox=arch-1 vmconsole="{%s}"\n'
    hook = struct % HOOK
    found = line % rf"\"msg\":\"found prestart hook {hook} mode 100755\",\"level\":\"INFO\""
    ends = line % rf"\"msg\":\"exit status of hook {hook} : Exited(0)\",\"level\":\"INFO\""
    return message(found), message(ends)


LOG = log_with(STRUCT_39)
GOOD = Traces(
    hook_path="/usr/share/oci/hooks",
    hook=HOOK,
    hook_mode="755 regular file",
    environment=("PATH=/bin", "NVIDIA_VISIBLE_DEVICES=all"),
    log=LOG,
    modules="nvidia 12345 0 - Live 0x0000000000000000 (O)",
    program="/usr/bin/nvidia-smi",
    nodes="/dev/nvidia-uvm /dev/nvidia0 /dev/nvidiactl",
    smi_status=0,
    smi_says="",
)


@pytest.mark.case(
    "kata",
    "the struct of a hook with Some([..]) or without",
    source="kata-containers #10672 (3.9), CC-0.8.0",
)
@pytest.mark.parametrize("struct", [STRUCT_39, STRUCT_CC])
def test_a_whole_chain_has_no_broken_link(struct: str) -> None:
    links = hook_chain.chain(replace(GOOD, log=log_with(struct)))
    assert [link.name for link in links] == list(hook_chain.LINKS)
    assert hook_chain.broken(links) is None, hook_chain.broken(links)


@pytest.mark.parametrize(
    ("change", "broken"),
    [
        ({"hook_path": ""}, hook_chain.CONFIGURED),
        ({"hook_mode": "644 regular file"}, hook_chain.IMAGE),
        ({"hook_mode": "777 symbolic link"}, hook_chain.IMAGE),
        ({"environment": ("PATH=/bin",)}, hook_chain.ASKED),
        ({"environment": ("NVIDIA_VISIBLE_DEVICES=void", "CUDA_VERSION=12")}, hook_chain.ASKED),
        ({"log": ("guest Prestart hook",)}, hook_chain.FOUND),
        ({"log": (LOG[0], LOG[1].replace("Exited(0)", "Exited(1)"))}, hook_chain.SUCCEEDED),
        ({"environment": ("CUDA_VERSION=12", "NVIDIA_REQUIRE_CUDA=cuda>=12")}, hook_chain.ASKED),
        ({"modules": "nvidia_uvm 1 0 - Live 0x0"}, hook_chain.MODULE),
        ({"program": ""}, hook_chain.PROGRAM),
        ({"nodes": "/dev/nvidia0 /dev/nvidia-uvm"}, hook_chain.NODES),
        ({"nodes": "/dev/nvidia-uvm /dev/nvidiactl"}, hook_chain.NODES),
        ({"nodes": "/dev/nvidia0 /dev/nvidiactl"}, hook_chain.NODES),
        ({"smi_status": 15}, hook_chain.ANSWERS),
    ],
)
def test_the_first_broken_link_is_named(change: dict[str, object], broken: str) -> None:
    links = hook_chain.chain(replace(GOOD, **change))  # type: ignore[arg-type]
    found = hook_chain.broken(links)
    assert found is not None
    assert found.name == broken
    assert found.seen
    assert found.cause


def test_a_query_is_read_field_by_field() -> None:
    line = "550.127.08, A100, GPU-1, 00000000:01:00.0, 0x20F110DE, 40960, 1024, [N/A], Disabled"
    gpu = parse(line)
    assert (gpu.driver_version, gpu.memory_total, gpu.ecc) == ("550.127.08", 40960, None)
    assert gpu.device_id == "0x20F110DE"
    assert memory_used([gpu, gpu]) == 2048
    silent = parse(line.replace("1024", "[N/A]"))
    assert memory_used([gpu, silent]) is None


@pytest.mark.case(
    "kata",
    "-m with slots and maxmem, in M or in G",
    source="kata-containers CC-0.8.0 and 3.15.0, QEMU's command line",
)
@pytest.mark.parametrize(("word", "mib"), [("1536M", 1536), ("20G,slots=10,maxmem=40G", 20480)])
def test_a_machines_memory_is_read_from_its_command_line(word: str, mib: int) -> None:
    machine = QemuProcess(1, ("/usr/bin/qemu", "-m", word, "-device", "a", "-device", "b"), ())
    assert machine.memory == mib
    assert machine.option("-device") == ["a", "b"]


@pytest.mark.case("kata", "an address without its domain", source="QEMU, vfio-pci")
def test_a_machines_devices_are_told_as_kata_names_them() -> None:
    words = (
        "-device",
        "pcie-root-port,id=rp0,bus=pcie.0",
        "-device",
        "vfio-pci,host=81:00.0,bus=rp0",
    )
    machine = QemuProcess(1, ("/usr/bin/qemu", *words), ())
    assert machine.vfio("0000:81:00.0") == {"host": "81:00.0", "bus": "rp0"}
    assert machine.vfio("0001:81:00.0") is None
    assert machine.devices("pcie-root-port") == [{"id": "rp0", "bus": "pcie.0"}]


@pytest.mark.case(
    "kata",
    "cold_plug_vfio = switch-port",
    source="kata-containers CC-0.8.0 and 3.15.0, QEMU's command line",
)
def test_a_device_may_be_behind_a_port_of_a_switch() -> None:
    words = ("-device", "xio3130-downstream,id=swdp0,bus=swup0,chassis=1")
    assert QemuProcess(1, ("/usr/bin/qemu", *words), ()).ports == ["swdp0"]


# Of nvidia-container-runtime-hook 1.17.8, recorded; the stack is cut.
PANIC = """\
Auto-detected mode as 'legacy'
couldn't find binary nvidia-container-cli in /usr/bin:/bin : exec: "nvidia-container-cli": \
executable file not found in $PATH
goroutine 1 [running]:
runtime/debug.Stack()
	runtime/debug/stack.go:26 +0x5e
main.exit()
"""


@pytest.mark.case(
    "NVIDIA", "a hook that fails says why above a stack", source="nvidia-container-toolkit 1.17.8"
)
def test_a_hook_that_fails_is_told_without_its_stack() -> None:
    log = (
        GOOD.log[0],
        f"hook {HOOK} exec failed: {PANIC}",
        f"exit status of hook {HOOK} : Exited(1)",
    )
    said = hook_chain.words(log, HOOK)
    assert said.startswith("Auto-detected mode as 'legacy'\ncouldn't find binary")
    assert said.endswith("executable file not found in $PATH")
    link = hook_chain.broken(hook_chain.chain(replace(GOOD, log=log)))
    assert link is not None
    assert link.name == hook_chain.SUCCEEDED
    assert "goroutine" not in link.seen
    assert "libnvidia-container-tools" in link.cause
