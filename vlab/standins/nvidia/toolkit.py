"""The parts of NVIDIA's container toolkit: its own programs, and what stands below them."""

from pathlib import Path

from vlab.build import Build
from vlab.packages import TOOLKIT, TOOLKIT_VERSION
from vlab.parts import golang
from vlab.standins.nvidia import compiler

PROGRAMS = ("nvidia-container-runtime-hook", "nvidia-ctk")
CLI, LIBRARY = "nvidia-container-cli", "libnvidia-container.so"


def make(build: Build, tree: Path) -> list[Path]:
    """Compile the toolkit's programs of their module, and the stand-ins; the files.

    Raises VlabError where a module cannot be fetched.
    """
    # As NVIDIA's Makefile sets it; without it they call their version unknown.
    linked = f"-X {TOOLKIT}/internal/info.version={TOOLKIT_VERSION}"
    modules = [f"{TOOLKIT}/cmd/{name}@v{TOOLKIT_VERSION}" for name in PROGRAMS]
    cli = compiler.program(build, tree, CLI, "cli.c", macros={"TOOLKIT_VERSION": TOOLKIT_VERSION})
    library = compiler.library(
        *(build, tree, f"{LIBRARY}.{TOOLKIT_VERSION}", "libstandin.c"),
        soname=f"{LIBRARY}.1",
        macros={"NVS_VERSION": TOOLKIT_VERSION},
    )
    programs = [golang.program(build, tree, module, linked=linked) for module in modules]
    return [*programs, cli, library]
