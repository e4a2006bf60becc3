"""Labs without a virtual machine: a folder with its state, and a process in QEMU's place."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vlab import launch, registry
from vlab.image import Image
from vlab.process import Process
from vlab.qemu import Settings
from vlab.registry import Machine


def entered(name: str = "lab-x", **values: object) -> Machine:
    """A lab of this process, ready, whose emulator does not run."""
    made = registry.enter(name, Image(Path("recipe")), Settings(), "tcg")
    return registry.update(made, **{"ready": True, "port": 22, **values})


@contextmanager
def emulated(lab: Machine, *command: str) -> Iterator[Machine]:
    """The lab with a process for its emulator; one that sleeps, if no other is named."""
    with launch.start(lab.folder, command or ["sleep", "600"], bound=False) as child:
        yield registry.update(lab, child=child, process=Process.of(child.pid))
        child.kill()
