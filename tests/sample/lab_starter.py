"""A starter of a lab that is killed when it has got so far; it says its emulator."""

import os
import signal
import sys
from pathlib import Path

from vlab import launch, registry
from vlab.image import Image
from vlab.process import Process
from vlab.qemu import CONSOLE, Settings

if __name__ == "__main__":
    life, end = registry.Life[sys.argv[1]], sys.argv[2]

    def reached(place: str) -> None:
        if place == end:
            os.kill(os.getpid(), signal.SIGKILL)

    lab = registry.enter("lab-x", Image(Path("recipe")), Settings(), "tcg")
    (lab.folder / CONSOLE).write_text("Debian\n")
    reached("entered")
    child = launch.start(lab.folder, ["sleep", "600"], bound=False)
    print(child.pid, flush=True)
    reached("launched")
    lab = registry.update(lab, process=Process.of(child.pid))
    registry.booted(lab, life, 1.0)
    reached("up")
