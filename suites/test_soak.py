"""The container with the GPUs starts again and again, and the host comes back each time."""

from statistics import median

import pytest

from fixtures.common import kernel_log
from fixtures.profile import Profile
from fixtures.soak.plugin import cycles
from fixtures.soak.stage import Cycle, Soak, made
from harness.outcome import not_assessed
from harness.run.stage import Run

FEWEST = 6  # cycles of which times can be told to grow


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test for each cycle."""
    if "number" in metafunc.fixturenames:
        metafunc.parametrize("number", range(1, cycles(metafunc.config) + 1))


@pytest.fixture
def done(run: Run[Profile]) -> tuple[Cycle, ...]:
    """The cycles of this run."""
    if not (found := made(run)):
        not_assessed("no cycle was carried out in this run")
    return found


@pytest.mark.budget("container")
@pytest.mark.clause("soak.start")
def test_container_comes_up_with_its_gpus(soak: Soak, number: int) -> None:
    cycle = soak.cycle(number)
    assert not cycle.error, (
        f"cycle {number} did not come up: {cycle.error}\nthe host as it was after it:\n"
        + "\n".join(soak.before.differences(cycle.after) or ["as before the first cycle"])
    )


@pytest.mark.clause("soak.device", "soak.leaves-nothing")
def test_host_is_after_each_cycle_as_before_the_first(soak: Soak, done: tuple[Cycle, ...]) -> None:
    changed = {one.number: soak.before.differences(one.after) for one in done}
    first = next((number for number, found in changed.items() if found), 0)
    assert not first, (
        f"after cycle {first} of {len(done)} the host was otherwise than before the first, in "
        f"{sum(map(bool, changed.values()))} cycles in all:\n" + "\n".join(changed[first]) + "\n"
        "a function that reads as ffff, or is not on the bus, was not reset: only a power cycle "
        "brings it back; one without vfio-pci was taken by a driver of the host (gpu suite); what "
        "runs or is held was left by kata: 'journalctl -t kata' has its end"
    )


@pytest.mark.clause("soak.leaves-nothing")
def test_memory_is_given_back(soak: Soak, done: tuple[Cycle, ...], profile: Profile) -> None:
    lost = {one.number: soak.before.memory - one.after.memory for one in done}
    enough = profile.kata.default_memory // 2
    kept = [number for number, size in lost.items() if size > enough]
    assert not kept, (
        f"after cycle {kept[0]} the host had {lost[kept[0]]} MiB less memory than before the "
        f"first, more than half of a guest's ({profile.kata.default_memory} MiB); after all "
        f"{lost[done[-1].number]}: 'ps aux --sort -rss', 'df /dev/shm', HugePages in /proc/meminfo"
    )


@pytest.mark.clause("soak.times")
def test_starts_do_not_get_slower(done: tuple[Cycle, ...], profile: Profile) -> None:
    times = [one.start for one in done if not one.error]
    if len(times) < FEWEST:
        not_assessed(f"of {len(times)} starts nobody can tell; --cycles {FEWEST} or more")
    third = len(times) // 3
    first, last = median(times[:third]), median(times[-third:])
    assert last <= first * profile.soak.slower, (
        f"the last {third} of {len(times)} starts took {last:.0f} s (median), {last / first:.1f} "
        f"times as long as the first {third} ({first:.0f} s), expected {profile.soak.slower:g} at "
        "most (soak.slower): is the host busy, does something pile up ('ctr container ls', mounts, "
        "'ip link'), is the card hot?"
    )


@pytest.mark.clause("soak.kernel-log")
def test_hosts_kernel_told_of_no_error_in_any_cycle(done: tuple[Cycle, ...]) -> None:
    if any(one.log is None for one in done):
        not_assessed(kernel_log.UNREADABLE)
    told = {one.number: one.log for one in done if one.log}
    first = next(iter(told), 0)
    assert not told, f"in cycle {first}: " + kernel_log.told("the host", told[first] or ())
