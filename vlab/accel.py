"""Choose the accelerator by booting something, because ``/dev/kvm`` promises nothing.

A ``/dev/kvm`` can exist and still not run a stock kernel (nested or restricted hosts): QEMU dies
on an MSR, or the guest spins for ever before its first line. So the lab's own kernel is started
under KVM, on the lab's own board, and only its first words on the serial console within a deadline
count as a yes. And KVM has to nest: kata's machines in the lab are what the lab is for.
"""

import contextlib
import json
import os
import selectors
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from vlab import qemu
from vlab.errors import VlabError
from vlab.image import Image, make_cache
from vlab.process import boot_id
from vlab.qemu import Settings

DEADLINE = 15.0  # seconds; a working KVM prints the kernel's first line in under two
MODES = ("auto", "kvm", "tcg")
DEVICE = Path("/dev/kvm")
MODULES = Path("/sys/module")
MEMORY = "accel.json"  # in the cache: what was found, and for which boot and machine

Say = Callable[[str], None]


def choose(image: Image, settings: Settings, say: Say) -> str:
    """Choose the accelerator for a lab: ``kvm`` where it works, else ``tcg``; says why.

    Raises VlabError where the settings want KVM and it does not.
    """
    if settings.accel == "tcg":
        return "tcg"
    why = why_not(image, settings, say)
    if not why:
        return "kvm"
    if settings.accel == "kvm":
        raise refused(why)
    say(f"vlab: KVM is not used: {why}")
    return "tcg"


def refused(why: str) -> VlabError:
    """The sentence for KVM that was asked for and is not to be had."""
    return VlabError(f"KVM was asked for, and {why}; say 'tcg' or 'auto'")


def why_not(image: Image, settings: Settings, say: Say, *, anew: bool = False) -> str:
    """Why KVM does not run such a lab, in words; empty where it does.

    What a boot has shown is remembered until the host's next one, and tried again only if ``anew``.
    """
    if hindrance := obstacle():
        return hindrance
    key = [boot_id(), image.folder.name, settings.cpus]
    memory = make_cache() / MEMORY
    with contextlib.suppress(OSError, ValueError):
        known = json.loads(memory.read_text(encoding="utf-8"))
        if known["key"] == key and not anew:
            return str(known["why"])
    say(f"vlab: trying KVM: a kernel is booted under it, for {DEADLINE:.0f} s at most ...")
    why = "" if kvm_runs(image, settings) else "a kernel that was booted under it said nothing"
    partial = memory.with_name(f"{MEMORY}.{os.getpid()}")
    partial.write_text(json.dumps({"key": key, "why": why}), encoding="utf-8")
    partial.replace(memory)
    return why


def obstacle() -> str:
    """An obstacle to KVM that shows without booting anything; empty if there is none."""
    if not DEVICE.exists():
        return f"there is no {DEVICE}"
    if not os.access(DEVICE, os.R_OK | os.W_OK):
        return f"{DEVICE} is not to be opened by this user (join group 'kvm')"
    if not _nests():
        return (
            "it does not nest, so that no machine could run in the lab "
            "(modprobe kvm_intel or kvm_amd with nested=1)"
        )
    return ""


def kvm_runs(image: Image, settings: Settings) -> bool:
    """Whether the lab's kernel says a word under KVM within the deadline."""
    command = [
        *qemu.board(image, settings.cpus, memory=512, mode="kvm"),
        *("-serial", "stdio", "-no-reboot", "-kernel", str(image.kernel)),
        *("-append", "console=ttyS0 earlyprintk=serial panic=-1 intel_iommu=on"),
    ]
    machine = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        return _speaks(machine, time.monotonic() + DEADLINE)
    finally:
        machine.kill()
        machine.wait()


def _nests() -> bool:
    for name in ("kvm_intel", "kvm_amd"):
        with contextlib.suppress(OSError):
            return (MODULES / name / "parameters/nested").read_text().strip() in ("Y", "1")
    return False


def _speaks(machine: subprocess.Popen[bytes], deadline: float) -> bool:
    assert machine.stdout is not None
    seen = b""
    with contextlib.closing(selectors.DefaultSelector()) as selector:
        selector.register(machine.stdout, selectors.EVENT_READ)
        while (left := deadline - time.monotonic()) > 0 and selector.select(left):
            chunk = os.read(machine.stdout.fileno(), 65536)
            seen = seen[-4096:] + chunk
            if b"Linux version" in seen:
                return True
            if not chunk:
                return False
    return False
