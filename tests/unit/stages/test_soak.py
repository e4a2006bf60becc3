"""soak: each cycle starts and ends a container, and what is otherwise is told with its cycle."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from fixtures.container.lifecycle import REMOVE, START
from fixtures.platform import host_log
from fixtures.soak.look import MACHINES, MEMORY, SCRIPT, Look
from fixtures.soak.stage import Cycle, Soak, SoakStage, made
from suites import test_soak
from tests.unit.replay import Reply, Words
from tests.unit.stages.lab import Lab, record

GPU = record().facts["gpu"]["addresses"][0]
WELL = f"""\
{GPU} has driver vfio-pci
{GPU} reads as 1af4 1043
{GPU} has 16 lanes
in vllmnet there is lo
there is a network namespace vllmnet
"""
FREE = 4000  # MiB
GUEST = record().profile["kata"]["default_memory"]


def turns(*replies: str) -> Callable[[Words], Reply]:
    """These outputs in turn; the last one is repeated."""
    left = list(replies)
    return lambda words: Reply(out=left.pop(0) if len(left) > 1 else left[0])


@pytest.fixture
def soaked(lab: Lab) -> Lab:
    """A host on which a container comes up and goes; of the device WELL is said."""
    lab.host.spare(START)
    lab.host.spare(REMOVE)
    lab.host.spare("nvidia-smi --query-gpu", out=record().said("nvidia-smi", "--query-gpu"))
    lab.host.spare(SCRIPT, out=WELL)
    lab.host.spare(MEMORY, out=f"{FREE}\n")
    host_log.pytest_acceptance_opened(lab.run)
    return lab


def begun(lab: Lab) -> Soak:
    facts = lab.facts
    return lab.run.stage(SoakStage(lab.run, facts["image"], facts["network"], facts["gpu"]))


def test_cycles_are_in_the_record_and_nothing_is_left_of_them(soaked: Lab) -> None:
    soak = begun(soaked)
    for number in range(1, 4):
        test_soak.test_container_comes_up_with_its_gpus(soak, number)
    done = made(soaked.run)
    test_soak.test_host_is_after_each_cycle_as_before_the_first(soak, done)
    test_soak.test_memory_is_given_back(soak, done, soaked.run.profile)
    test_soak.test_hosts_kernel_told_of_no_error_in_any_cycle(done)
    assert [one.number for one in done] == [1, 2, 3]
    started = [line for line in map(" ".join, soaked.host.asked) if START in line]
    assert [f"arch-{n}-{soaked.run.id}" in line for n, line in enumerate(started, 1)] == [True] * 3
    assert soaked.run.journal.pending() == []
    ids = [figure["id"] for figure in soaked.events("fact")[-1]["value"]]
    spread = ["cycles-least", "cycles-median", "cycles-most"]
    assert ids == [*spread, "cycle-1", "cycle-2", "cycle-3"]


def test_a_card_that_falls_off_the_bus_is_told_with_its_cycle(soaked: Lab) -> None:
    lost = WELL.replace("reads as 1af4 1043", "reads as ffff ffff")
    soaked.host.reply(SCRIPT, by=turns(WELL, WELL, WELL, lost))
    soak = begun(soaked)
    for number in range(1, 5):
        soak.cycle(number)
    with pytest.raises(AssertionError) as caught:
        test_soak.test_host_is_after_each_cycle_as_before_the_first(soak, made(soaked.run))
    assert "after cycle 3 of 4" in str(caught.value)
    assert f"now: {GPU} reads as ffff ffff" in str(caught.value)


def test_a_start_that_fails_is_no_end_of_the_others(soaked: Lab) -> None:
    soak = begun(soaked)
    refused = Reply(status=1, err="ctr: vfio: error getting device: failed to reset\n")
    soaked.host.reply(
        START, by=lambda words: refused if f"arch-2-{soaked.run.id}" in words else Reply()
    )
    test_soak.test_container_comes_up_with_its_gpus(soak, 1)
    with pytest.raises(AssertionError) as caught:
        test_soak.test_container_comes_up_with_its_gpus(soak, 2)
    assert "cycle 2 did not come up" in str(caught.value)
    assert "failed to reset" in str(caught.value)
    assert "[clause" not in str(caught.value)  # soak.start is the test's own
    test_soak.test_container_comes_up_with_its_gpus(soak, 3)
    assert soaked.run.journal.pending() == []


def test_a_container_without_its_gpu_is_none(soaked: Lab) -> None:
    soaked.host.reply("nvidia-smi --query-gpu", status=9, out="NVIDIA-SMI has failed")
    soak = begun(soaked)
    assert "0 GPUs of 1, status 9" in soak.cycle(1).error


def test_an_error_of_the_kernel_is_told_with_its_cycle(soaked: Lab) -> None:
    fault = "[  88.1] DMAR: [DMA Read] Request device [01:00.0] fault addr 0x0\n"
    soaked.host.reply("$(dmesg)", "LAST", by=turns("", fault, ""))
    soaked.host.reply("CLOCK_MONOTONIC_RAW", out="100.0\n")
    soak = begun(soaked)
    for number in range(1, 4):
        soak.cycle(number)
    with pytest.raises(AssertionError, match=r"in cycle 2: .*\n.*a fault of the IOMMU"):
        test_soak.test_hosts_kernel_told_of_no_error_in_any_cycle(made(soaked.run))


def cycles(*starts: float, memory: int = FREE) -> tuple[Cycle, ...]:
    look = Look((), memory)
    return tuple(Cycle(n, start, 3.0, "", look, ()) for n, start in enumerate(starts, 1))


def test_machines_that_are_left_are_known_by_their_container(tmp_path: Path) -> None:
    """Not by their program alone: another's machine may start or end in any cycle."""
    qemu = tmp_path / "qemu-system-x86_64"
    shutil.copy("/bin/sleep", qemu)
    ours, others = "-name sandbox-arch-3-RUN,debug-threads=on", "-name sandbox-web"
    asleep = [subprocess.Popen([word, "60"], executable=qemu) for word in (ours, others)]
    try:
        argv = ["sh", "-euc", f"run=arch-3-RUN{MACHINES}"]
        said = subprocess.run(argv, stdout=subprocess.PIPE, text=True, check=True).stdout
    finally:
        for process in asleep:
            process.kill()
            process.wait()
    assert said == "there runs qemu-system-x86 of sandbox-arch-3-RUN\n"


def test_starts_that_take_longer_and_longer_are_told(lab: Lab) -> None:
    profile = lab.run.profile
    test_soak.test_starts_do_not_get_slower(cycles(30, 31, 29, 33, 30, 40), profile)
    with pytest.raises(AssertionError, match="the last 2 of 6 starts took 58 s"):
        test_soak.test_starts_do_not_get_slower(cycles(30, 31, 38, 45, 56, 60), profile)
    with pytest.raises(pytest.skip.Exception, match="of 5 starts nobody can tell"):
        test_soak.test_starts_do_not_get_slower(cycles(1, 2, 3, 4, 5), profile)


def test_memory_that_is_not_given_back_is_told(lab: Lab) -> None:
    soak = Soak(Look((), FREE), lambda number: cycles(*[1] * number)[-1])
    leak = replace(cycles(1, 1)[1], after=Look((), FREE - GUEST))
    with pytest.raises(AssertionError, match=f"after cycle 2 the host had {GUEST} MiB less"):
        test_soak.test_memory_is_given_back(soak, (*cycles(1), leak), lab.run.profile)
