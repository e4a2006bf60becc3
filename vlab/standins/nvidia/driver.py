"""The driver's package: a shell script with an archive behind it, as NVIDIA ships it."""

import hashlib
import io
import tarfile
from pathlib import Path

from vlab.build import Build
from vlab.standins.nvidia import compiler

HERE = Path(__file__).parent / "driver"
LIBRARIES = ("libnvidia-ml.so", "libcuda.so")
KERNEL_SOURCES = ("Kbuild", "nvidia.c", "nvidia-uvm.c", "nvidia-standin.h")
FIRMWARE = ("gsp_ga10x.bin", "gsp_tu10x.bin")  # names alone: the virtual GPU takes none
SCRIPTS = ("nvidia-installer", "nvidia-modprobe")


def package_name(version: str, machine: str) -> str:
    """The file name under which NVIDIA publishes this version, ``machine`` in uname's words."""
    return f"NVIDIA-Linux-{machine}-{version}.run"


def make(build: Build, tree: Path, folder: Path, version: str) -> Path:
    """Compile what runs in user space, pack it with the module's source; return the package."""
    macros = {"NVS_VERSION": version}
    files = {
        "nvidia-smi": compiler.program(
            build, tree, *("nvidia-smi", "nvidia-smi.c", "query.c", "device.c"), macros=macros
        ).read_bytes()
    }
    for name in LIBRARIES:
        files[f"{name}.{version}"] = compiler.library(
            *(build, tree, f"{name}.{version}", "libstandin.c"), soname=f"{name}.1", macros=macros
        ).read_bytes()
    machine = build.arch.machine
    package = folder / package_name(version, machine)
    package.write_bytes(pack(version, machine, files))
    package.chmod(0o755)
    return package


def pack(version: str, machine: str, programs: dict[str, bytes]) -> bytes:
    """The package with these compiled files and our scripts and sources."""
    members = {name: (data, 0o755) for name, data in programs.items()}
    for name in SCRIPTS:
        text = (HERE / name).read_text(encoding="utf-8").replace("@VERSION@", version)
        members[name] = (text.replace("@MACHINE@", machine).encode(), 0o755)
    for name in KERNEL_SOURCES:
        members[f"kernel/{name}"] = ((HERE / name).read_bytes(), 0o644)
    for name in FIRMWARE:
        members[f"firmware/{name}"] = (b"A stand-in: no firmware.\n", 0o644)
    payload = _archive(members)
    header = (HERE / "run-header.sh").read_text(encoding="utf-8")
    for key, value in (
        ("VERSION", version),
        ("MACHINE", machine),
        ("LINES", str(header.count("\n"))),
        ("SHA256", hashlib.sha256(payload).hexdigest()),
    ):
        header = header.replace(f"@{key}@", value)
    return header.encode() + payload


def _archive(members: dict[str, tuple[bytes, int]]) -> bytes:
    out = io.BytesIO()
    # Not compressed: it is small, and an emulated machine unpacks it.
    with tarfile.open(fileobj=out, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for name, (data, mode) in sorted(members.items()):
            about = tarfile.TarInfo(name)
            about.size, about.mode = len(data), mode
            archive.addfile(about, io.BytesIO(data))
    return out.getvalue()
