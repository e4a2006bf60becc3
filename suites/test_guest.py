"""The GPUs in the guest are whole, compute what is right at their rates, and stay quiet."""

import re
from collections.abc import Sequence

import pytest

from fixtures.common import kernel_log
from fixtures.guest import sysfs
from fixtures.guest.compute import HELD, figures
from fixtures.guest.compute_answer import TROUBLE, Compute, Device
from fixtures.guest.health import GpuHealth
from fixtures.guest.stage import Guest
from fixtures.profile import Profile
from harness.outcome import not_assessed
from harness.run.stage import Run

NO_LINK = "the guest is not told of the link: its port does not show one"


def checked(guest: Guest) -> Sequence[GpuHealth]:
    """The GPUs by nvidia-smi's document; not assessed where it has none of that form."""
    if guest.health is None:
        not_assessed(guest.unknown)
    assert guest.health.gpus, "'nvidia-smi -q -x' lists no GPU: see the first lines of its output"
    return guest.health.gpus


@pytest.mark.clause("guest.device")
def test_every_bar_has_an_address(guest: Guest) -> None:
    for one in guest.functions:
        assert one.bars, (
            f"{one.bdf} has no BAR at all, expected memory to reach it by: did its reset fail? "
            "'lspci -vv' in the guest shows 'rev ff' then, and only a power cycle helps"
        )
        lost = [bar for bar in one.bars if not bar.assigned]
        assert not lost, (
            f"BAR {', '.join(str(bar.number) for bar in lost)} of {one.bdf} has no address: "
            f"{max(bar.size for bar in lost) // sysfs.MIB} MiB do not fit the guest's window for "
            "64-bit memory; enlarge it (pcie_root_port's reserve, OVMF's X-PciMmio64Mb, or the "
            "machine's highmem-mmio)"
        )


@pytest.mark.clause("guest.device")
def test_nvidia_smi_lists_every_gpu(guest: Guest) -> None:
    listed = [gpu.address for gpu in guest.smi.gpus]
    missing = [one.bdf for one in guest.functions if one.bdf not in listed]
    assert not missing, (
        f"the guest has {len(guest.functions)} GPUs on its bus, and nvidia-smi lists "
        f"{', '.join(listed) or 'none'}: {', '.join(missing)} is missing; 'NVRM' in the guest's "
        "dmesg says why the driver does not take it (no power, a BAR without an address, Xid 79)"
    )


@pytest.mark.clause("guest.memory")
def test_bar_reaches_all_of_the_memory(guest: Guest) -> None:
    gpus = {one.address: one for one in checked(guest)}
    for function in guest.functions:
        if (gpu := gpus.get(function.bdf)) is None:
            continue  # another test says so
        if gpu.memory is None or gpu.bar1 is None:
            not_assessed(f"nvidia-smi does not tell memory and BAR1 of {gpu.bus_id}")
        if gpu.bar1 < gpu.memory:
            not_assessed(
                f"BAR1 of {gpu.bus_id} has {gpu.bar1} MiB for {gpu.memory} MiB of memory: a card "
                "that has no more, or a resizable one that was left small"
            )
        assert function.largest >= gpu.bar1, (
            f"the driver has {gpu.bar1} MiB of BAR1, sysfs has at most {function.largest} MiB for "
            f"{function.bdf}: another device, or the BAR was mapped in part"
        )


@pytest.mark.clause("guest.link")
def test_link_has_its_width(guest: Guest, profile: Profile) -> None:
    known = [one for one in guest.functions if one.width and one.max_width]
    for one in known:
        wanted = profile.gpu.link_width or one.max_width
        assert one.width == wanted, (
            f"the link of {one.bdf} has {one.width} lanes, expected {wanted}: a card that is not "
            "all the way in, or a bad riser. Where the slot has no more: gpu.link_width in the "
            "profile"
        )
    if not known:
        not_assessed(NO_LINK)


@pytest.mark.clause("guest.link")
def test_link_has_its_speed(guest: Guest, profile: Profile, compute: Compute) -> None:
    known = [one for one in guest.functions if one.speed and one.max_speed]
    busy = [second.link_gen or 0 for device in compute.devices for second in device.load]
    for one in known:
        seen = max(sysfs.generation(one.speed) or 0, *busy, 0)
        wanted = profile.gpu.link_generation or sysfs.generation(one.max_speed) or 0
        if seen < wanted and not busy:
            not_assessed(
                f"the link of {one.bdf} is at {one.speed}, expected is generation {wanted}; while "
                f"idle it may be slow, and under load nobody saw it: {compute.missing}"
            )
        assert seen >= wanted, (
            f"the link of {one.bdf} is at generation {seen} of PCI Express, under load, too; "
            f"expected {wanted}: a bad riser, or a slot that was set so in the firmware. Where it "
            "can do no more: gpu.link_generation in the profile"
        )
    if not known:
        not_assessed(NO_LINK)


@pytest.mark.clause("guest.reset")
def test_each_gpu_can_be_reset(guest: Guest) -> None:
    for one in guest.functions:
        assert one.reset, (
            f"the kernel knows no way to reset {one.bdf} (reset_method is empty): the next guest "
            "finds it as this one leaves it. Is FLR hidden by the machine, or off for this card?"
        )


@pytest.mark.clause("guest.nodes")
def test_device_nodes_are_there(guest: Guest) -> None:
    numbers = [node for node in guest.nodes if re.fullmatch(r"/dev/nvidia\d+", node)]
    count = len(guest.functions)
    assert len(numbers) == count, (
        f"{count} GPUs, and nodes {numbers or 'none'}, expected one /dev/nvidiaN for each: "
        "nvidia-modprobe makes them, and NVIDIA's hook brings them into the container"
    )
    missing = {"/dev/nvidiactl", "/dev/nvidia-uvm"}.difference(guest.nodes)
    assert not missing, (
        f"{', '.join(sorted(missing))} is not there: without it CUDA finds no device. For UVM: "
        "'nvidia-modprobe -u -c 0' in the guest (kata's guests load no module by themselves)"
    )


@pytest.mark.clause("guest.health")
def test_memory_has_no_uncorrectable_errors(guest: Guest) -> None:
    gpus = checked(guest)
    for gpu in gpus:
        assert not gpu.uncorrectable, (
            f"{gpu.uncorrectable} uncorrectable errors of memory (ECC) on {gpu.bus_id} since the "
            f"driver was loaded, {gpu.ever} over its life: expected none. Reset the GPU; if more "
            "come, it is to be replaced"
        )
    if all(gpu.uncorrectable is None for gpu in gpus):
        not_assessed("these GPUs have no counters of ECC, or it is off")


@pytest.mark.clause("guest.health")
def test_no_memory_waits_to_be_retired(guest: Guest) -> None:
    gpus = checked(guest)
    for gpu in gpus:
        assert not gpu.lost, (
            f"nvidia-smi says that memory of {gpu.bus_id} could not be repaired (row remapping "
            "failed, or too many errors): NVIDIA's rule for that is to replace the card"
        )
        assert not gpu.pending, (
            f"memory of {gpu.bus_id} waits to be retired or remapped: reset the GPU (restart the "
            "guest), then look again; 'nvidia-smi -q -d ROW_REMAPPER,PAGE_RETIREMENT' has numbers"
        )
    if all(gpu.pending is None and gpu.lost is None for gpu in gpus):
        not_assessed("nvidia-smi tells of no repair of these GPUs' memory")


@pytest.mark.clause("guest.health")
def test_clocks_are_not_held_down(guest: Guest) -> None:
    gpus = checked(guest)
    for gpu in gpus:
        assert not gpu.slowed, (
            f"{gpu.bus_id} is {' and '.join(gpu.slowed)}: look at fans, airflow and the power "
            "cables; 'nvidia-smi -q -d PERFORMANCE,TEMPERATURE,POWER' in the guest"
        )
    if all(gpu.slowed is None for gpu in gpus):
        not_assessed("nvidia-smi does not tell why these GPUs' clocks are as they are")


@pytest.mark.clause("guest.health")
def test_no_recovery_is_asked_for(guest: Guest) -> None:
    gpus = checked(guest)
    for gpu in gpus:
        assert not gpu.recovery, (
            f"nvidia-smi asks for '{gpu.recovery}' to recover {gpu.bus_id}, expected None: do so "
            "before anything is qualified on it"
        )
    if all(gpu.recovery is None for gpu in gpus):
        not_assessed("this driver does not tell whether a GPU has to be recovered (580 does)")


def at_work(compute: Compute) -> tuple[Device, ...]:
    """The GPUs that PyTorch put to work; not assessed where it could not."""
    if compute.missing or not compute.devices:
        why = compute.missing or "it has found none"
        not_assessed(f"the compute probe needs PyTorch and a CUDA device: {why}")
    return compute.devices


def called(device: Device) -> str:
    """A GPU in a message."""
    return f"GPU {device.index} ({device.name})" if device.name else f"GPU {device.index}"


@pytest.mark.clause("guest.compute-result")
def test_results_are_those_of_float64(compute: Compute) -> None:
    for device in at_work(compute):
        assert not device.error, (
            f"{called(device)} was to copy, compute and keep a pattern, and did not come to the "
            f"end: {device.error}. Look for Xid lines in the guest's dmesg; out of memory: does "
            "another program have the GPU?"
        )
        for product in device.products:
            assert product.error is not None and product.error <= product.bound, (  # noqa: PT018  # one fact
                f"{called(device)}: a matrix product in {product.kind} ({product.n} rows and "
                f"columns) is off by {product.error} of its greatest element against float64, "
                f"expected {product.bound:.2g} at most, which roundings explain: the GPU computes "
                "wrongly. Look at its ECC errors ('nvidia-smi -q -d ECC') and Xid lines in dmesg, "
                "and have it exchanged"
            )


@pytest.mark.clause("guest.compute-rate")
def test_rates_are_those_of_the_model(compute: Compute) -> None:
    devices = at_work(compute)
    judged = [
        (device, figure)
        for device in devices
        for figure in figures(device)
        if figure.id in device.rates and figure.expected and figure.least
    ]
    for device, figure in judged:
        assert figure.expected is None or figure.value >= figure.least * figure.expected, (
            f"{called(device)}, {figure.label}: {figure.value:.3g} {figure.unit}, which is "
            f"{figure.ratio} of {figure.expected:.3g} ({figure.source}); expected is at least "
            f"{figure.least}. Does another program have the GPU? Then look at clocks, limit of "
            "power and reasons for a slowdown: 'nvidia-smi -q -d CLOCK,POWER,PERFORMANCE'"
        )
    if not judged:
        names = ", ".join(sorted({device.name or called(device) for device in devices}))
        not_assessed(
            f"of {names or 'no device'} no figure was measured for which fixtures/guest/"
            "expected.toml has one with a source"
        )


@pytest.mark.clause("guest.memory-pattern")
def test_memory_keeps_what_is_written_to_it(compute: Compute) -> None:
    devices = at_work(compute)
    for device in devices:
        if (found := device.pattern) is not None:
            assert not found.wrong, (
                f"{called(device)}: {found.wrong} of {found.bytes // 8} words of 8 bytes came back "
                "otherwise than they were written, expected none, of two patterns together: its "
                "memory is damaged, or somebody writes to it. 'nvidia-smi -q -d "
                "ECC,PAGE_RETIREMENT,ROW_REMAPPER' has what the GPU knows of it; have it exchanged"
            )
    missing = [called(device) for device in devices if device.pattern is None]
    if missing:
        not_assessed(
            f"no pattern was written: {', '.join(missing)} ended before, as another test says"
        )


@pytest.mark.clause("guest.sustained")
def test_load_is_sustained(compute: Compute) -> None:
    untold = []
    for device in at_work(compute):
        if not device.load:
            untold.append(f"{called(device)} ended before it was under load, as another test says")
            continue
        first, last = device.load[0].rate, device.load[-1].rate
        hottest = max((second.temperature or 0 for second in device.load), default=0)
        seen = {second.reasons for second in device.load if second.reasons is not None}
        why = [name for bit, name in TROUBLE.items() if any(reasons & bit for reasons in seen)]
        assert not why, (
            f"{called(device)} slowed down under load for {', '.join(why)}, expected is none of "
            f"these; it was at {hottest:g} degrees Celsius at most. Thermal: fans, air flow, dust. "
            "HW slowdown or power brake: power supply and its cables"
        )
        assert last >= HELD * first, (
            f"{called(device)}: matrix products at {last:.3g} FLOP/s after {len(device.load)} s "
            f"under load, {first:.3g} in the first second; expected is {HELD} of that at least. "
            "Does another program use it? Fact 'compute' in the record has clocks, temperature and "
            "power of each second"
        )
        if not seen:
            untold.append(
                f"{called(device)} keeps its rate, but whether something slows it down nvidia-smi "
                f"in the guest does not say ({device.smi or '[N/A]'})"
            )
    if untold:
        not_assessed("; ".join(untold))


@pytest.mark.clause("guest.kernel-log")
def test_kernel_tells_of_no_error(guest: Guest, run: Run[Profile]) -> None:
    found = guest.errors(run)
    if found is None:
        not_assessed(kernel_log.UNREADABLE)
    assert not found, kernel_log.told("the guest", found)
