"""Choose the accelerator by booting something, because ``/dev/kvm`` promises nothing.

A ``/dev/kvm`` can exist and still not run a stock kernel (nested or restricted hosts): QEMU dies
on an MSR, or the guest spins for ever before its first line. So the lab's own kernel is started
under KVM, and only its first words on the serial console within a deadline count as a yes.
"""

import contextlib
import os
import selectors
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from vlab.image import Image, cache_root

DEADLINE = 15.0  # seconds; a working KVM prints the kernel's first line in under two
MODES = ("auto", "kvm", "tcg")


def openable() -> bool:
    """Whether this user may try KVM at all."""
    return os.access("/dev/kvm", os.R_OK | os.W_OK)


def choose(image: Image, say: Callable[[str], None] = lambda _: None, *, anew: bool = False) -> str:
    """``kvm`` where it really runs a kernel, else ``tcg``.

    The answer is remembered for this boot of the host, and asked for again only if ``anew``.
    """
    if not openable():
        return "tcg"
    boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    memory = cache_root() / f"accel-{boot}"
    if memory.exists() and not anew:
        return memory.read_text(encoding="ascii").strip()
    say(f"vlab: trying KVM: a kernel is booted under it, for {DEADLINE:.0f} s at most ...")
    answer = "kvm" if kvm_runs(image) else "tcg"
    memory.parent.mkdir(parents=True, exist_ok=True)
    partial = memory.with_name(f"{memory.name}.{os.getpid()}")
    partial.write_text(answer, encoding="ascii")
    partial.replace(memory)
    return answer


def kvm_runs(image: Image) -> bool:
    """Whether the lab's kernel says a word under KVM within the deadline."""
    command = [
        *image.emulator("qemu-system-x86_64"),
        *("-L", str(image.firmware), "-M", "q35", "-accel", "kvm", "-cpu", "host", "-m", "512"),
        *("-nodefaults", "-display", "none", "-serial", "stdio", "-no-reboot"),
        *("-kernel", str(image.kernel), "-append", "console=ttyS0 earlyprintk=serial panic=-1"),
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
