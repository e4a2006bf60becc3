"""Requirements on this computer for a lab; each one that is not met is a sentence."""

import shutil
from pathlib import Path

from vlab import accel
from vlab.errors import VlabError
from vlab.image import cache_root
from vlab.packages import architecture
from vlab.qemu import GPUS, Settings
from vlab.standins import gpu

OVERHEAD = 768  # MiB beside the lab's memory: QEMU's translated code, and a GPU's model
DISK = 2560  # MiB that a lab may write; with its image (1.3 GiB) the 4 GiB that it may take
TOOLS = {"ssh": "openssh-client", "ssh-keygen": "openssh-client", "setpriv": "util-linux"}


def check(settings: Settings) -> None:
    """Raise VlabError where a lab of these settings cannot be started here."""
    architecture()
    for tool, package in missing_tools().items():
        raise VlabError(f"'{tool}' is not installed: apt-get install {package}, or ./bootstrap")
    if settings.gpus not in GPUS:
        raise VlabError(f"a lab has {GPUS[0]} to {GPUS[-1]} GPUs, not {settings.gpus}")
    if settings.gpus and (missing := gpu.missing_features()):
        raise VlabError(
            f"the lab's GPU computes on this computer's processor, which has no "
            f"{', '.join(missing)}: use a computer of the x86-64-v3 level, or a lab without a GPU "
            "(--gpus 0, or vlab.gpus in the profile)"
        )
    if settings.accel == "kvm" and (why := accel.obstacle()):
        raise accel.refused(why)
    if free_disk() < DISK:
        raise VlabError(
            f"the lab may write {DISK} MiB to the file system of {cache_root()}, and "
            f"{free_disk()} MiB are free: make room, or name another folder with VLAB_CACHE"
        )
    free, wanted = available_memory(), settings.memory + OVERHEAD
    if free < wanted:
        raise VlabError(
            f"the lab needs {wanted} MiB of memory ({settings.memory} of its own and "
            f"{OVERHEAD} for its emulator), and {free} MiB are available: free some, or give it "
            "less (--memory, or vlab.memory in the profile; 3072 at least)"
        )


def missing_tools() -> dict[str, str]:
    """The programs that are not installed, and the package of each."""
    return {tool: package for tool, package in TOOLS.items() if shutil.which(tool) is None}


def available_memory() -> int:
    """MiB that can be had without swapping (MemAvailable, proc(5))."""
    for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) // 1024
    raise VlabError("/proc/meminfo has no MemAvailable")


def free_disk() -> int:
    """MiB that are free where labs are kept, or will be."""
    root = cache_root()
    there = next(folder for folder in (root, *root.parents) if folder.is_dir())
    return shutil.disk_usage(there).free >> 20
