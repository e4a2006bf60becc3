"""What this computer can do for a lab, and how fast a lab is on it."""

import json
import os
import platform
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from vlab import accel, image, machine, preflight, recipe
from vlab.errors import VlabError
from vlab.image import Image, cache_root
from vlab.qemu import Settings
from vlab.registry import Machine

Say = Callable[[str], None]

BY_HAND = Path(__file__).parent / "by_hand.sh"
GIB = 1024 * 1024  # KiB
DISK = 4096  # MiB that an image and a lab need


@dataclass(frozen=True)
class Figure:
    """A thing measured, in ``unit``, beside the most that it may be."""

    what: str
    measured: float | None
    goal: float
    unit: str = "s"

    def row(self) -> str:
        """A row of a table in Markdown."""
        value = "not measured" if self.measured is None else f"{self.measured:.3g} {self.unit}"
        return f"| {self.what} | {self.goal:g} {self.unit} | {value} |"


def report(say: Say) -> bool:
    """Print what a lab would find here; whether one can be started."""
    ready = True
    print(f"processor:   {platform.machine()}, {os.cpu_count()} CPUs")
    try:
        preflight.check(Settings())
    except VlabError as error:
        ready = False
        print(f"missing:     {error}")
    print(
        f"memory:      {preflight.available_memory()} MiB available; a lab of the usual size "
        f"takes {Settings().memory + preflight.OVERHEAD}"
    )
    root = cache_root()
    root.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(root).free // (1024 * 1024)
    print(f"disk:        {free} MiB free in {root}; an image and a lab need {DISK}")
    found = cache_root() / recipe.digest()
    if not found.is_dir():
        print("image:       not built yet, so neither emulator nor accelerator can be tried:")
        print("             python -m vlab build")
        return ready and free >= DISK
    lab = Image(found.absolute())
    print(f"image:       {lab.folder}")
    print(f"emulator:    {version(lab)}, out of the image's own packages")
    print(f"accelerator: {accel.choose(lab, say, anew=True)} ({_why_accel()})")
    return ready


def version(lab: Image) -> str:
    """What the lab's QEMU says it is."""
    argv = [*lab.emulator("qemu-system-x86_64"), "--version"]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode:
        raise VlabError(f"the image's emulator does not run: {done.stderr.strip()}")
    return done.stdout.splitlines()[0]


def _why_accel() -> str:
    if not Path("/dev/kvm").exists():
        return "there is no /dev/kvm"
    if not accel.openable():
        return "/dev/kvm is not to be opened by this user"
    return "a kernel was booted under KVM, to see; 'tcg' means that it said nothing"


def measure(say: Say, *, anew: bool) -> list[Figure]:
    """Build (where need be, or ``anew``), boot and use a lab; the figures.

    Raises VlabError with the last lines of a step that fails.
    """
    build = _time_build(say, anew=anew)
    log = cache_root() / "probe-time.log"
    say(f"vlab: the steps of {BY_HAND.name} follow; what they print goes to {log}")
    seconds: dict[str, float] = {}
    with log.open("wb") as output, machine.running(image.ensure(say), Settings(), say) as lab:
        for step in ("rootfs", "kata", "image", "gpu", "network", "container", "model", "ask"):
            start = time.monotonic()
            answer = by_hand(lab, [step])
            seconds[step] = time.monotonic() - start
            output.write(answer.encode())
            say(f"vlab: {step}: {seconds[step]:.0f} s")
        say(f"vlab: the answer: {_content(answer)}")
        assert lab.process is not None
        memory = lab.process.peak_memory() / GIB
    return [
        Figure("image build", build, 180),
        Figure(f"boot to ssh ({lab.accel})", lab.ssh_after, 12 if lab.accel == "kvm" else 45),
        Figure("container in nested machine", seconds["container"], 40),
        Figure("model server ready", seconds["model"], 40),
        Figure("first answer, 16 tokens", seconds["ask"], 60),
        Figure("host memory of the machine", memory, 6, "GiB"),
    ]


def table(figures: Sequence[Figure]) -> str:
    """The figures as a table in Markdown."""
    rows = ["| figure | at most | measured |", "| --- | --- | --- |"]
    return "\n".join([*rows, *(figure.row() for figure in figures)])


def by_hand(lab: Machine, steps: Sequence[str]) -> str:
    """Carry out steps of the guide by plain commands; returns what they print."""
    with BY_HAND.open("rb") as script:
        done = subprocess.run(
            [*lab.ssh, "sh", "-s", *steps],
            stdin=script,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
    if done.returncode:
        tail = "\n".join(done.stdout.splitlines()[-15:])
        raise VlabError(f"step {' '.join(steps)} exited {done.returncode} in the lab:\n{tail}")
    return done.stdout


def _content(answer: str) -> str:
    (line,) = [line for line in answer.splitlines() if line.startswith("{")]
    value = json.loads(line)
    tokens = value["usage"]["completion_tokens"]
    return f"{value['choices'][0]['message']['content']} ({tokens} tokens)"


def _time_build(say: Say, *, anew: bool) -> float | None:
    """Seconds that an image build takes; None where the image is there and is to be used."""
    if not anew and (cache_root() / recipe.digest()).is_dir():
        return None
    with _empty_cache() if anew else nullcontext():
        start = time.monotonic()
        image.ensure(say)
        return time.monotonic() - start


@contextmanager
def _empty_cache() -> Iterator[None]:
    """A cache with no image in it, for the length of the block."""
    folder = cache_root() / "anew"
    before = os.environ.get("VLAB_CACHE")
    os.environ["VLAB_CACHE"] = str(folder)
    try:
        yield
    finally:
        if before is None:
            del os.environ["VLAB_CACHE"]
        else:
            os.environ["VLAB_CACHE"] = before
        shutil.rmtree(folder, ignore_errors=True)
