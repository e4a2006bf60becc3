"""NVIDIA's driver and container toolkit, each in the form in which NVIDIA ships it.

Stands for: the driver's .run package and the toolkit's RPMs in their repository, with gcc, make,
pciutils and tar as RPMs beside them (the guest's distribution would have them).
Real: the toolkit's hook and nvidia-ctk; the forms, the procedure and its failures; a kernel module
built against the guest's tree, which drives the PCI device that was passed through; programs that
fail where it is not.
Not real: nvidia-container-cli below the hook; the GPU is the virtual lab's (``vlab.standins.gpu``).
Each file under driver/ and toolkit/ says what in it is real.
"""

from pathlib import Path

from vlab.build import Build
from vlab.standins.nvidia import compiler, driver, repository, toolkit

DRIVER_VERSION = "550.127.08"

HERE = Path(__file__).parent


def install(build: Build) -> None:
    """Put the driver package, the repository and its .repo file where the profile looks."""
    repository.fetch(build)
    tree = compiler.make(build)
    shelf = build.root / "srv/lab"
    shelf.mkdir(parents=True, exist_ok=True)
    driver.make(build, tree, shelf, DRIVER_VERSION)
    repository.make(build, shelf, toolkit.make(build, tree))
