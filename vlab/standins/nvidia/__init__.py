"""NVIDIA's driver and container toolkit, each in the form in which NVIDIA ships it.

Stands for: the driver's .run package and the toolkit's RPM in its repository, with gcc, make,
pciutils and tar as RPMs beside it (the guest's distribution would have them).
Real: the forms, the procedure and its failures; a kernel module built against the guest's tree,
which drives the PCI device that was passed through; programs that fail where it is not.
Not real: the GPU is the virtual lab's (``vlab.standins.gpu``). Each file under driver/ and
toolkit/ says what in it is real.
"""

from pathlib import Path

from vlab.build import Build
from vlab.standins.nvidia import compiler, driver, repository

DRIVER_VERSION = "550.127.08"
TOOLKIT_VERSION = "1.17.4"

HERE = Path(__file__).parent


def install(build: Build) -> None:
    """Put the driver package, the repository and its .repo file where the profile looks."""
    repository.fetch(build)
    tree = compiler.make(build)
    shelf = build.root / "srv/lab"
    shelf.mkdir(parents=True, exist_ok=True)
    driver.make(build, tree, shelf, DRIVER_VERSION)
    hook = compiler.program(
        build,
        tree,
        *("nvidia-container-runtime-hook", "hook.c", "cli.c", "json.c"),
        macros={"NVS_VERSION": DRIVER_VERSION, "TOOLKIT_VERSION": TOOLKIT_VERSION},
    )
    repository.make(build, shelf, hook, TOOLKIT_VERSION)
