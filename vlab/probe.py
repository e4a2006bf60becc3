"""Report whether a lab runs on this computer, and measure how fast it is."""

import json
import os
import platform
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from vlab import accel, boot, face, hold, image, pace, preflight, recipe
from vlab.errors import VlabError
from vlab.image import Image, cache_root
from vlab.qemu import Settings
from vlab.registry import Machine

Say = Callable[[str], None]

BY_HAND = Path(__file__).parent / "by_hand.sh"
GIB = 1024 * 1024  # KiB
SSH_FAILED = 255  # ssh's own exit status: there is no connection, or no longer
STEP_DEADLINE = 900.0  # seconds for one step by hand: many times what a slow computer takes


@dataclass(frozen=True)
class Figure:
    """A thing measured, in ``unit``, beside the most that it may be."""

    what: str
    measured: float | None
    goal: float
    unit: str = "s"

    @property
    def met(self) -> bool:
        """Whether it is no more than it may be, if it was measured."""
        return self.measured is None or self.measured <= self.goal

    def row(self) -> str:
        """A row of a table in Markdown."""
        value = "not measured" if self.measured is None else f"{self.measured:.3g} {self.unit}"
        mark = "" if self.met else " **over**"
        return f"| {self.what} | {self.goal:g} {self.unit} | {value}{mark} |"


def report(say: Say) -> bool:
    """Print the computer's properties for a lab. Returns whether one can be started.

    Raises VlabError on a processor that has no lab.
    """
    ready, found = True, cache_root() / recipe.digest()
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
    free, needed = preflight.free_disk(), image.NEEDED_BYTES >> 20
    print(f"disk:        {free} MiB free for {cache_root()}; a lab needs {preflight.DISK}")
    if not found.is_dir():
        print("image:       not built yet, so neither emulator nor accelerator can be tried:")
        print(f"             python -m vlab build (needs {needed} MiB of disk)")
        return ready and free >= needed
    lab = Image(found.absolute())
    print(f"image:       {lab.folder}")
    print(f"emulator:    {version(lab)}, out of the image's own packages")
    why = accel.why_not(lab, Settings(), say, anew=True)
    print(f"accelerator: {f'tcg, since {why}' if why else 'kvm: it has booted a kernel'}")
    return ready


def version(lab: Image) -> str:
    """The version of the lab's QEMU."""
    argv = [*lab.emulator("qemu-system-x86_64"), "--version"]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode:
        raise VlabError(f"the image's emulator does not run: {done.stderr.strip()}")
    return done.stdout.splitlines()[0]


def measure(say: Say, *, anew: bool) -> list[Figure]:
    """Boot and use a lab, and before that build an image ``anew`` if it is wanted; the figures.

    Raises VlabError with the last lines of a step that fails.
    """
    build = _time_build(say) if anew else None
    log = cache_root() / "probe-time.log"
    say(f"vlab: the steps of {BY_HAND.name} follow; what they print goes to {log}")
    seconds: dict[str, float] = {}
    who = f"'vlab probe' (pid {os.getpid()})"
    with (
        log.open("wb") as output,
        face.lease(Settings(), who=who, say=say, fresh=True) as lab,
    ):
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
        Figure("first answer, 16 tokens", seconds["ask"], 15),
        Figure("host memory of the machine", memory, 6, "GiB"),
    ]


def table(figures: Sequence[Figure]) -> str:
    """The figures as a table in Markdown."""
    rows = ["| figure | at most | measured |", "| --- | --- | --- |"]
    return "\n".join([*rows, *(figure.row() for figure in figures)])


def by_hand(lab: Machine, steps: Sequence[str]) -> str:
    """Carry out steps of the guide by plain commands; returns what they print.

    Raises VlabError: with what became of the lab where that is why, else with the last lines.
    """
    step, limit = f"step {' '.join(steps)}", STEP_DEADLINE * pace.of(lab)
    with BY_HAND.open("rb") as script:
        try:
            done = subprocess.run(
                [*lab.ssh, "sh", "-s", *steps],
                stdin=script,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                timeout=limit,
            )
        except subprocess.TimeoutExpired as error:
            state = boot.fate(lab) or "the lab's machine still runs"
            raise VlabError(f"{step} did not end within {limit:g} s: {state}") from error
    if done.returncode == SSH_FAILED and (why := boot.fate(lab, patience=5.0)):
        raise VlabError(f"in {step} {why}")
    if done.returncode:
        tail = "\n".join(done.stdout.splitlines()[-15:])
        raise VlabError(f"{step} exited {done.returncode} in the lab:\n{tail}")
    return done.stdout


def _content(answer: str) -> str:
    (line,) = [line for line in answer.splitlines() if line.startswith("{")]
    value = json.loads(line)
    tokens = value["usage"]["completion_tokens"]
    return f"{value['choices'][0]['message']['content']} ({tokens} tokens)"


def _time_build(say: Say) -> float:
    """Seconds that an image build takes, in a cache of its own."""
    with _empty_cache():
        start = time.monotonic()
        image.ensure(say)
        return time.monotonic() - start


@contextmanager
def _empty_cache() -> Iterator[None]:
    """A cache with no image in it, for the length of the block; prune sweeps it after a kill."""
    before = os.environ.get("VLAB_CACHE")
    folder = Path(tempfile.mkdtemp(prefix=image.ANEW, dir=image.make_cache()))
    with hold.inherited(folder / hold.OWNER):
        os.environ["VLAB_CACHE"] = str(folder)
        try:
            yield
        finally:
            if before is None:
                del os.environ["VLAB_CACHE"]
            else:
                os.environ["VLAB_CACHE"] = before
            image.delete(folder)
