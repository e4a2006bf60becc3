"""The guest's GPUs: documents of several drivers, sysfs, Xid lines, and what the suite judges."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from fixtures.container import nvidia_smi
from fixtures.guest import health, sysfs
from fixtures.guest.compute_answer import Compute, Device, Second
from fixtures.guest.health import GpuHealth
from fixtures.guest.stage import Guest
from fixtures.profile import GpuConfig, PlatformConfig
from harness.errors import LabError
from harness.host.command import Result
from suites import test_guest as suite
from tests.unit.mini import ROOT
from tests.unit.test_judgements import told

DOCUMENTS = ROOT / "tests" / "data" / "nvidia" / "q-xml"
H100 = "580.159.04-h100-x2"


def said(out: str, rc: int = 0, err: str = "") -> Result:
    return Result(("x",), rc, out, err, 0.1, len(out), len(err))


def document(name: str = H100) -> str:
    return (DOCUMENTS / f"{name}.xml").read_text("utf-8")


def gpus(text: str) -> tuple[GpuHealth, ...]:
    found, why = health.read(said(text))
    assert found is not None, why
    return found.gpus


# ---------------------------------------------------------------- nvidia-smi's document


@pytest.mark.parametrize(
    ("name", "memory", "bar1", "ecc", "uncorrectable", "link", "width", "pending", "recovery"),
    [
        (H100, 81559, 131072, "Enabled", 0, (5, 5), (16, 16), False, ""),
        ("535.54.03-a100-mig", 81920, 131072, "Enabled", 0, (4, 4), (16, 16), None, None),
        ("515.105.01-t4", 15360, 256, "Enabled", 0, (3, 3), (8, 16), False, None),
        ("595.84-rtx-4000-ada", 20475, 32768, "Disabled", None, (1, 4), (16, 16), False, ""),
        ("570.124.04-rtx-3060", 12288, 256, "", None, (1, 4), (16, 16), None, ""),
        ("418.43-p400", 1998, 256, "", None, (1, 3), (16, 16), None, None),
    ],
)
def test_documents_of_seven_years_are_read(
    name: str,
    memory: int,
    bar1: int,
    ecc: str,
    uncorrectable: int | None,
    link: tuple[int, int],
    width: tuple[int, int],
    pending: bool | None,
    recovery: str | None,
) -> None:
    gpu = gpus(document(name))[0]
    assert (gpu.memory, gpu.bar1, gpu.ecc, gpu.uncorrectable) == (memory, bar1, ecc, uncorrectable)
    assert ((gpu.link, gpu.max_link), (gpu.width, gpu.max_width)) == (link, width)
    assert (gpu.pending, gpu.recovery) == (pending, recovery)
    assert not gpu.lost
    assert gpu.slowed == ()


def test_every_gpu_of_the_document_is_there() -> None:
    assert [gpu.bus_id for gpu in gpus(document())] == ["00000000:00:06.0", "00000000:00:07.0"]


@pytest.mark.parametrize(
    ("before", "after", "field", "value"),
    [
        ("<dram_uncorrectable>0", "<dram_uncorrectable>3", "uncorrectable", 3),
        ("<remapped_row_pending>No", "<remapped_row_pending>Yes", "pending", True),
        ("<remapped_row_failure>No", "<remapped_row_failure>Yes", "lost", True),
        ("<unrepairable_memory>No", "<unrepairable_memory>Yes", "lost", True),
        ("<gpu_recovery_action>None", "<gpu_recovery_action>GPU Reset", "recovery", "GPU Reset"),
        (
            "<clocks_event_reason_hw_thermal_slowdown>Not Active",
            "<clocks_event_reason_hw_thermal_slowdown>Active",
            "slowed",
            ("slowed down by hardware for heat",),
        ),
        ("<used>0 MiB", "<used>ERR!", "memory", 81559),
        ("<total>81559 MiB", "<total>N/A", "memory", None),
        ("<total>81559 MiB", "<total>[GPU requires reset]", "memory", None),
    ],
)
def test_what_a_gpu_complains_of_is_read(
    before: str, after: str, field: str, value: object
) -> None:
    assert before in document()
    assert getattr(gpus(document().replace(before, after, 1))[0], field) == value


def test_counters_of_ecc_before_ampere_are_read() -> None:
    old = "<volatile><single_bit><total>9</total></single_bit><double_bit><total>2</total>"
    text = f"<gpu><ecc_errors>{old}</double_bit></volatile></ecc_errors></gpu>"
    [gpu] = gpus(f"<nvidia_smi_log>{text}</nvidia_smi_log>")
    assert (gpu.uncorrectable, gpu.ever) == (2, None)


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (said("No devices were found\n", 6), "ended with 6: No devices were found"),
        (said("", 127, "sh: 2: nvidia-smi: not found\n"), "ended with 127: sh: 2: nvidia-smi"),
        (said("", 9), "ended with 9: it said nothing"),
        (said(""), "no XML"),
        (said(document()[:5000]), "no XML"),
        (said("<html><body>proxy</body></html>"), "wrote a <html>"),
        (said("Failed to initialize NVML: Unknown Error\n"), "no XML"),
        (said('<!DOCTYPE a [<!ENTITY b "c">]><nvidia_smi_log>&d;</nvidia_smi_log>'), "no XML"),
    ],
    ids=["no device", "no program", "silent", "empty", "cut", "another page", "words", "entity"],
)
def test_what_is_no_document_is_told_and_not_judged(answer: Result, why: str) -> None:
    found, told_why = health.read(answer)
    assert found is None
    assert why in told_why


def test_a_document_without_a_gpu_has_none() -> None:
    assert gpus("<nvidia_smi_log><attached_gpus>0</attached_gpus></nvidia_smi_log>") == ()


# ---------------------------------------------------------------- sysfs

# As SCRIPT printed it in a guest with an H100 (driver 580.159.04).
NONE = "0x0000000000000000:0x0000000000000000:0x0000000000000000"
BARS = [
    "0x0000102002000000:0x0000102002ffffff:0x000000000014220c",
    NONE,
    "0x0000100000000000:0x0000101fffffffff:0x000000000014220c",
    NONE,
    "0x0000102000000000:0x0000102001ffffff:0x000000000014220c",
    NONE,
]
LINK = ["32.0 GT/s PCIe", "32.0 GT/s PCIe", "16", "16"]


def line(
    *link: str, bars: list[str] = BARS, pci_class: str = "0x030200", reset: str = "flr"
) -> str:
    fields = ["0000:00:06.0", "0x10de", "0x2330", pci_class, *(link or LINK), reset]
    return "\t".join([*fields, " ".join(bars) + " "])


def test_a_function_is_read() -> None:
    one = sysfs.parse(line())
    assert (one.vendor, one.device, one.pci_class) == ("10de", "2330", "0302")
    assert (one.speed, one.width, one.max_width) == ("32.0 GT/s PCIe", 16, 16)
    assert one.reset == ("flr",)
    assert [(bar.number, bar.size >> 20, bar.assigned) for bar in one.bars] == [
        (0, 16, True),
        (2, 131072, True),
        (4, 32, True),
    ]
    assert one.largest == 131072


@pytest.mark.parametrize("width", ["0", "255", ""])
def test_a_link_that_is_not_there_is_not_known(width: str) -> None:
    one = sysfs.parse(line("Unknown", "Unknown speed", width, width))
    assert (one.speed, one.max_speed, one.width, one.max_width) == ("", "", None, None)


def test_a_bar_without_an_address_is_seen() -> None:
    # IORESOURCE_UNSET: the kernel found no room for it (include/linux/ioport.h)
    lost = "0x0000000000000000:0x0000001fffffffff:0x000000002014220c"
    [_, bar, _] = sysfs.parse(line(bars=[*BARS[:2], lost, *BARS[3:]])).bars
    assert (bar.number, bar.assigned, bar.size) == (2, False, 1 << 37)


@pytest.mark.parametrize(
    "text", ["", "0000:00:06.0", "a\tb\tc", line(bars=["0x0:0x1"]), "\0\t" * 9]
)
def test_garbage_from_sysfs_is_told(text: str) -> None:
    with pytest.raises(LabError, match="sysfs of the guest says"):
        sysfs.parse(text)


def test_only_gpus_of_the_profiles_kind_are_looked_at() -> None:
    found = sysfs.read(said(f"{line()}\n{line(pci_class='0x060400')}\n"))
    assert len(found) == 2
    assert len(sysfs.gpus(found, GpuConfig())) == 1
    assert sysfs.gpus(found, GpuConfig(vendor="1af4")) == ()


@pytest.mark.parametrize(
    ("speed", "generation"), [("2.5 GT/s PCIe", 1), ("16.0 GT/s PCIe", 4), ("x", None), ("", None)]
)
def test_a_speed_has_its_generation(speed: str, generation: int | None) -> None:
    assert sysfs.generation(speed) == generation


# ---------------------------------------------------------------- the suite

HARMLESS = "[    4.063699] NVRM: Persistence mode is deprecated.\n"
XID = "[  900.1] NVRM: Xid (PCI:0000:00:06): 79, pid=812, GPU has fallen off the bus.\n"
WANTED: Any = SimpleNamespace(gpu=GpuConfig(), platform=PlatformConfig())
RUN: Any = SimpleNamespace(profile=WANTED, trace=SimpleNamespace(now=0.0))
NODES = ("/dev/nvidia-uvm", "/dev/nvidia-uvm-tools", "/dev/nvidia0", "/dev/nvidiactl")
SMI_LINE = "580.159.04, NVIDIA H100 80GB HBM3, GPU-1, 00000000:00:06.0, 0x233010DE, 81559, 0"
NO_TORCH = Compute("no PyTorch: No module named 'torch'", "", "")


def guest(log: str = HARMLESS, **other: Any) -> Any:
    found, _ = health.read(said(document()))
    assert found is not None
    facts = {
        "functions": (sysfs.parse(line()),),
        "nodes": NODES,
        "health": replace(found, gpus=found.gpus[:1]),
        "unknown": "",
        "smi": SimpleNamespace(gpus=(nvidia_smi.parse(SMI_LINE),)),
        "newest": HARMLESS.splitlines()[-1],
        "console": False,
        "ask": lambda *argv: said(log.partition(HARMLESS)[2]),
    }
    one = SimpleNamespace(**facts | other)
    one.errors = lambda run: Guest.errors(one, run)  # type: ignore[arg-type]
    return one


def sick(**other: Any) -> Any:
    one = guest()
    gpu = replace(one.health.gpus[0], **other)
    return guest(health=replace(one.health, gpus=(gpu,)))


def test_a_good_guest_passes() -> None:
    one = guest()
    suite.test_every_bar_has_an_address(one)
    suite.test_nvidia_smi_lists_every_gpu(one)
    suite.test_bar_reaches_all_of_the_memory(one)
    suite.test_link_has_its_width(one, WANTED)
    suite.test_link_has_its_speed(one, WANTED, NO_TORCH)
    suite.test_each_gpu_can_be_reset(one)
    suite.test_device_nodes_are_there(one)
    suite.test_memory_has_no_uncorrectable_errors(one)
    suite.test_no_memory_waits_to_be_retired(one)
    suite.test_clocks_are_not_held_down(one)
    suite.test_no_recovery_is_asked_for(one)
    suite.test_kernel_tells_of_no_error(one, RUN)


def with_line(text: str) -> Any:
    return guest(functions=(sysfs.parse(text),))


@pytest.mark.parametrize(
    ("test", "one", "says"),
    [
        (
            suite.test_every_bar_has_an_address,
            with_line(line(bars=["0x0:0x1fffffffff:0x2014220c", *BARS[1:]])),
            "BAR 0 of 0000:00:06.0 has no address: 131072 MiB do not fit",
        ),
        (
            suite.test_every_bar_has_an_address,
            with_line(line(bars=[NONE] * 6)),
            "has no BAR at all",
        ),
        (suite.test_bar_reaches_all_of_the_memory, sick(bar1=256), "BAR1 of 00000000:00:06.0 has"),
        (suite.test_each_gpu_can_be_reset, with_line(line(reset="")), "no way to reset"),
        (suite.test_device_nodes_are_there, guest(nodes=NODES[2:]), "/dev/nvidia-uvm is not there"),
        (suite.test_device_nodes_are_there, guest(nodes=()), "1 GPUs, and nodes none"),
        (suite.test_memory_has_no_uncorrectable_errors, sick(uncorrectable=2), "2 uncorrectable"),
        (suite.test_memory_has_no_uncorrectable_errors, sick(uncorrectable=None), "no counters"),
        (suite.test_no_memory_waits_to_be_retired, sick(pending=True), "waits to be retired"),
        (suite.test_no_memory_waits_to_be_retired, sick(lost=True), "could not be repaired"),
        (suite.test_clocks_are_not_held_down, sick(slowed=("hot",)), "is hot: look at fans"),
        (suite.test_clocks_are_not_held_down, sick(slowed=None), "does not tell why"),
        (suite.test_no_memory_waits_to_be_retired, sick(pending=None, lost=None), "of no repair"),
        (suite.test_no_recovery_is_asked_for, sick(recovery=None), "this driver does not tell"),
        (suite.test_no_recovery_is_asked_for, sick(recovery="GPU Reset"), "asks for 'GPU Reset'"),
        (
            suite.test_clocks_are_not_held_down,
            guest(health=None, unknown="'nvidia-smi -q -x' ended with 9: driver"),
            "not assessed: 'nvidia-smi -q -x' ended with 9",
        ),
    ],
)
def test_each_fault_is_told(test: Callable[..., None], one: Any, says: str) -> None:
    assert says in told(test, one)


def test_a_gpu_that_nvidia_smi_does_not_list_is_told_by_its_address() -> None:
    one = guest()
    other = replace(one.functions[0], bdf="0000:00:05.0", bars=())
    two = guest(functions=(other, *one.functions))
    said_ = told(suite.test_nvidia_smi_lists_every_gpu, two)
    assert "nvidia-smi lists 0000:00:06.0: 0000:00:05.0 is missing" in said_
    suite.test_bar_reaches_all_of_the_memory(two)  # each by its own address


def test_an_error_of_the_kernels_is_told() -> None:
    test = suite.test_kernel_tells_of_no_error
    assert "Xid 79" in told(test, guest(log=HARMLESS + XID), RUN)
    assert "cannot be read" in told(test, guest(newest=None), WANTED)


def test_a_narrow_link_fails_unless_the_slot_has_no_more() -> None:
    one = with_line(line(*LINK[:2], "8", "16"))
    assert "has 8 lanes, expected 16" in told(suite.test_link_has_its_width, one, WANTED)
    narrow: Any = SimpleNamespace(gpu=GpuConfig(link_width=8))
    suite.test_link_has_its_width(one, narrow)


def loaded(generation: int) -> Compute:
    return Compute("", "2.11", "13.0", (Device(0, load=(Second(1e12, link_gen=generation),)),))


def test_a_slow_link_fails_only_under_load() -> None:
    test, one = suite.test_link_has_its_speed, with_line(line("2.5 GT/s PCIe", *LINK[1:]))
    assert "not assessed: the link of 0000:00:06.0 is at 2.5 GT/s" in told(
        test, one, WANTED, NO_TORCH
    )
    assert "generation 3 of PCI Express, under load, too" in told(test, one, WANTED, loaded(3))
    test(one, WANTED, loaded(5))
    slot: Any = SimpleNamespace(gpu=GpuConfig(link_generation=3))
    test(one, slot, loaded(3))


def test_a_guest_that_is_told_of_no_link_is_not_judged() -> None:
    one = with_line(line("", "", "", ""))
    for said_ in (
        told(suite.test_link_has_its_width, one, WANTED),
        told(suite.test_link_has_its_speed, one, WANTED, NO_TORCH),
    ):
        assert said_.startswith("not assessed: the guest is not told of the link")
