"""What a kernel's log tells of: errors are found, whatever is no error is not."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from fixtures.common import kernel_log
from fixtures.platform import host_log
from fixtures.profile import PlatformConfig
from harness.host.command import Result

# Of a healthy guest with two H100 (recorded), and of a virtual lab's boot.
HARMLESS = """\
[    0.263715] pci 0000:00:06.0: [10de:2330] type 00 class 0x030200 PCIe Endpoint
[    0.264510] pci 0000:00:06.0: BAR 0 [mem 0x102002000000-0x102002ffffff 64bit pref]
[    0.595601] nvidia: loading out-of-tree module taints kernel.
[    0.696541] NVRM: loading NVIDIA UNIX Open Kernel Module for x86_64  580.159.04  Release Build
[    1.408204] NVRM: gpuClearFbhubPoisonIntrForBug2924523_GA100: FBHUB Interrupt.
[    4.063699] NVRM: Persistence mode is deprecated and will be removed in a future release.
[    0.9] acpi PNP0A08:00: _OSC: OS now controls [SHPCHotplug PME AER PCIeCapability]
[    1.0] pcieport 0000:00:10.0: AER: enabled with IRQ 25
[    0.1] rcu: Preemptible hierarchical RCU implementation.
[    0.2] DMAR: IOMMU enabled
[    0.3] mce: CPU supports 32 MCE banks
"""
# As the kernel's source writes them, and NVIDIA's page on Xid errors.
ERRORS = [
    ("BUG: kernel NULL pointer dereference, address: 0000000000000008", "an error of the kernel's"),
    ("Oops: 0000 [#1] PREEMPT SMP NOPTI", "an error of the kernel's own"),
    ("kernel BUG at mm/slub.c:448!", "an error of the kernel's own"),
    ("Unable to handle kernel paging request at virtual address ffff", "an error of the kernel's"),
    ("rcu: INFO: rcu_preempt detected stalls on CPUs/tasks:", "a processor that hangs"),
    ("watchdog: BUG: soft lockup - CPU#1 stuck for 26s! [qemu:812]", "a processor that hangs"),
    ("INFO: task dockerd:812 blocked for more than 120 seconds.", "a processor that hangs"),
    ("DMAR: [DMA Write NO_PASID] Request device [01:00.0] fault addr 0x0", "a fault of the IOMMU"),
    ("arm-smmu-v3 arm-smmu-v3.0.auto: event 0x10 received:", "a fault of the IOMMU"),
    ("pcieport 0000:00:1c.0: AER: Uncorrectable (Fatal) error message received", "of PCI Express"),
    ("{1}[Hardware Error]: event severity: fatal", "a machine check"),
    ("Out of memory: Killed process 812 (qemu-system-x86)", "memory that has run out"),
    (
        "NVRM: Xid (PCI:0000:00:06): 79, pid=812, GPU has fallen off the bus.",
        "Xid 79 of the GPU at",
    ),
    (
        "NVRM: Xid (PCI:0000:00:06): 999, what",
        "0000:00:06: NVIDIA's list of Xid errors",
    ),
]


def said(out: str, rc: int = 0) -> Result:
    return Result(("dmesg",), rc, out, "", 0.1, len(out), 0)


@pytest.mark.parametrize(("line", "says"), ERRORS, ids=str)
def test_an_error_is_told_with_its_kind(line: str, says: str) -> None:
    [found] = kernel_log.errors([*HARMLESS.splitlines(), f"[  900.123456] {line}"])
    assert says in found
    assert found.endswith(f"it says: {line}")
    assert kernel_log.errors([line], [re.escape(line[:20])]) == [], "it is accepted"


@pytest.mark.parametrize("line", [line for line, _ in ERRORS], ids=str)
def test_grep_finds_the_same_on_a_host(line: str) -> None:
    words = ["grep", "-cE", "--", kernel_log.PATTERN]
    found = subprocess.run(words, input=f"{HARMLESS}{line}\n", capture_output=True, text=True)
    assert (found.stdout.strip(), found.stderr) == ("1", "")


def dmesg(folder: Path, text: str, argv: list[str], status: int = 0) -> Result:
    """What a command says where dmesg says that."""
    (folder / "text").write_text(text, "utf-8")
    program = folder / "dmesg"
    program.write_text(f"#!/bin/sh\ncat '{folder}/text'\nexit {status}\n")
    program.chmod(0o755)
    environ = {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}"}
    done = subprocess.run(argv, env=environ, capture_output=True, text=True)
    return Result(tuple(argv), done.returncode, done.stdout, done.stderr, 0.1, 0, 0)


def test_only_what_came_since_counts(tmp_path: Path) -> None:
    oops = "[ 9.0] Oops: 0000 \\n [#1]"
    last = kernel_log.newest(dmesg(tmp_path, HARMLESS + oops, kernel_log.ask_newest()))
    assert last == oops
    later = f"{HARMLESS}{oops}\n[ 9.1] nothing\n[ 9.2] Oops: 0001\n"
    since = kernel_log.ask_since(oops)
    assert kernel_log.since(dmesg(tmp_path, later, since)) == ["[ 9.2] Oops: 0001"]
    assert kernel_log.since(dmesg(tmp_path, "[ 9.3] Oops: 0002\n", since)) == ["[ 9.3] Oops: 0002"]
    assert kernel_log.since(dmesg(tmp_path, HARMLESS + oops, since)) == []


def test_a_log_that_is_refused_is_not_known(tmp_path: Path) -> None:
    for argv in (kernel_log.ask_newest(), kernel_log.ask_since("x")):
        refused = dmesg(tmp_path, "", argv, status=1)
        assert kernel_log.newest(refused) is None
        assert kernel_log.since(refused) is None


class Asked:
    """A run on a host whose log grows."""

    def __init__(self, *logs: Result) -> None:
        self.logs = [*logs]
        self.trace = SimpleNamespace(now=0.0)
        self.facts: dict[str, Any] = {}
        self.profile = SimpleNamespace(
            platform=PlatformConfig(kernel_log_accepted=("soft lockup",))
        )
        self.host = self

    def ask(self, *argv: str) -> Result:
        return self.logs.pop(0)

    def fact(self, name: str, value: object) -> None:
        self.facts[name] = value


def test_each_error_of_the_host_is_told_once() -> None:
    oops, later = "[ 9.0] Oops: 0000\n", "[ 9.5] watchdog: BUG: soft lockup\n"
    # Newest, then newest and since; a clock that does not answer.
    answers = (HARMLESS[-20:], oops, oops, "", oops, "", later, later)
    run: Any = Asked(*map(said, answers))
    host_log.pytest_acceptance_opened(run)
    assert host_log.errors(run) == ["an error of the kernel's own; it says: Oops: 0000"]
    assert host_log.errors(run) == []
    assert host_log.errors(run) == []


def test_a_log_that_cannot_be_read_is_not_judged() -> None:
    run: Any = Asked(said("", 1))
    host_log.pytest_acceptance_opened(run)
    assert host_log.errors(run) is None


def test_an_error_is_told_with_the_test_or_stage_that_was_at_work(tmp_path: Path) -> None:
    """The record began 1000 s after the kernel, and now is 100 s later."""

    def event(kind: str, at: float, **more: object) -> str:
        return json.dumps({"kind": kind, "at": at, **more})

    lines = [
        event("stage", 5.0, name="image", state="started"),
        event("stage", 10.0, name="gpu", state="started"),
        event("stage", 30.0, name="gpu", state="ok"),
        event("test", 31.0, nodeid="suites/test_gpu.py::test_a[x::y]", seconds=0.5),
        event("test", 33.0, nodeid="suites/test_gpu.py::test_b", seconds=1.0),
        event("stage", 60.0, name="image", state="ok"),
    ]
    (tmp_path / "record.jsonl").write_text("\n".join(lines), "utf-8")
    run: Any = SimpleNamespace(dir=tmp_path, trace=SimpleNamespace(now=100.0))
    stamps = (900.0, 1020.0, 1030.8, 1032.9, 1050.0, 1099.0)
    oops = [f"[{stamp:12.6f}] Oops: 0000" for stamp in stamps]
    found = kernel_log.when(run, lambda *argv: said("1100.0\n"), [*oops, "Oops: 1"], [])
    assert [text.partition("an error")[0] for text in found] == [
        *("during stage 'image': ", "during stage 'gpu': "),
        *("during test_a[x::y]: ", "during test_b: "),
        *("during stage 'image': ", "during stage 'image': ", ""),
    ]
    silent = kernel_log.when(run, lambda *argv: said("", 127), oops[:1], [])
    assert silent == ["an error of the kernel's own; it says: Oops: 0000"]
