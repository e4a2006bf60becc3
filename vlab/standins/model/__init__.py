"""The model image: what ``docker build`` needs, without any network, on the lab host.

Stands for the guide's vllm-build checkout, and for what its build downloads: the base image and the
wheels. Real: a Debian root. Not real: the packages ``vllm`` and ``modelscope``, which say so
themselves. There is no model in the image: the stand-in GPU has it, and computes.
"""

import hashlib
import shutil
import struct
import zipfile
from base64 import urlsafe_b64encode
from collections.abc import Iterable
from pathlib import Path

from vlab.build import Build
from vlab.errors import VlabError

HERE = Path(__file__).parent
CONTEXT = "srv/lab/vllm-build"
VERSION = "0.24.0+standin"
"""Version in the name of vLLM's stand-in's wheel; the package's own ``__version__`` is the same."""

MODELSCOPE = "1.18.1+standin"
"""The same of modelscope's."""

SYSTEM = ("base-files", "bash", "coreutils", "dash", "sed", "grep", "procps")
PACKAGES = (*SYSTEM, "python3", "curl", "pciutils")

# Never read in the container: bytes that would be hashed, copied, saved and imported, emulated.
TRIM = (
    "usr/lib/*/gconv",
    "usr/lib/*/perl*",
    "usr/lib/python3.13/pydoc_data",
    "usr/lib/python3.13/ensurepip",
    "usr/lib/python3.13/idlelib",
    "usr/lib/python3.13/turtledemo",
    "usr/lib/python3.13/lib-dynload/_test*",
    "usr/lib/python3.13/lib-dynload/_codecs_*",
    "usr/lib/python3.13/unittest",
    "usr/lib/x86_64-linux-gnu/libdb-*",
    "usr/share/common-licenses",
    "usr/share/zoneinfo",
    "usr/share/perl*",
    "usr/share/terminfo",
    "usr/share/bash-completion",
    "usr/share/gdb",
    "var/lib/apt",
    "var/lib/dpkg",
    "var/cache",
)

# The standard library's modules that a start of the server imports. No maintainer script has
# compiled them, and compiling them anew in every container takes seconds on an emulated processor.
COMPILE = """
import sys, py_compile
import argparse, compileall, http.client, http.server, json, runpy, socketserver
import subprocess, threading, zipfile, encodings.idna, inspect, dataclasses, importlib.metadata
import contextlib, traceback, linecache, enum, urllib.parse
for module in list(sys.modules.values()):
    source = getattr(module, "__file__", None) or ""
    if source.endswith(".py"):
        py_compile.compile(source, invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)
"""

PASSWD = "root:x:0:0:root:/root:/bin/bash\nnobody:x:65534:65534:nobody:/:/usr/sbin/nologin\n"
GROUP = "root:x:0:\nnogroup:x:65534:\n"


def install(build: Build) -> None:
    """Put the build context to /srv/lab/vllm-build of the lab host. Raises VlabError."""
    context = build.root / CONTEXT
    (context / "wheels").mkdir(parents=True)
    (context / "wheels-openai").mkdir()
    shutil.copy(HERE / "Dockerfile", context)
    _base(build, context / "base.tar")
    pack_wheel(HERE / "vllm", context / "wheels" / f"vllm-{VERSION}-py3-none-any.whl")
    last = f"modelscope-{MODELSCOPE}-py3-none-any.whl"
    pack_wheel(HERE / "modelscope", context / "wheels-openai" / last)


def _base(build: Build, archive: Path) -> None:
    """A Debian root with Python, unpacked only: no maintainer script has run in it."""
    tree = build.work / "model-base"
    build.mmdebstrap(tree, variant="extract", include=PACKAGES)
    for pattern in TRIM:
        for path in tree.glob(pattern):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    (tree / "etc/passwd").write_text(PASSWD)
    (tree / "etc/group").write_text(GROUP)
    (tree / "usr/local/bin").mkdir(parents=True, exist_ok=True)
    build.chroot(tree, "python3", "-c", COMPILE)
    # Devices are the container runtime's business, and docker's ADD would have to make them.
    build.run(
        *("tar", "--create", "--file", archive, "--directory", tree),
        *("--numeric-owner", "--sort=name", "--exclude=./dev/*", "."),
    )
    shutil.rmtree(tree)


def slim_wheel(source: Path, target: Path) -> None:
    """Copy a wheel, its shared objects without what no program loads: three quarters are debug.

    Nothing is compressed: unpacking costs more than reading on an emulated processor.
    """
    with zipfile.ZipFile(source) as wheel:
        files = {
            entry.filename: wheel.read(entry)
            for entry in wheel.infolist()
            if not entry.is_dir() and not entry.filename.endswith("/RECORD")
        }
    loaded = {
        name: loaded_part(data) if name.endswith(".so") else data for name, data in files.items()
    }
    write_wheel(target, loaded)


def loaded_part(elf: bytes) -> bytes:
    """A 64-bit little-endian ELF file up to the end of its last segment, without section headers.

    The loader reads segments only; sections serve linkers and debuggers. Raises VlabError if it is
    no such file.
    """
    if elf[:6] != b"\x7fELF\x02\x01":
        raise VlabError("a shared object of the model server's wheel is not 64-bit ELF")
    (start,) = struct.unpack_from("<Q", elf, 32)  # e_phoff
    size, count = struct.unpack_from("<HH", elf, 54)  # e_phentsize, e_phnum
    end = start + size * count
    for index in range(count):
        offset, _, _, length = struct.unpack_from("<QQQQ", elf, start + index * size + 8)
        end = max(end, offset + length)
    kept = bytearray(elf[:end])
    struct.pack_into("<Q", kept, 40, 0)  # e_shoff
    struct.pack_into("<HH", kept, 60, 0, 0)  # e_shnum, e_shstrndx
    return bytes(kept)


def pack_wheel(package: Path, target: Path) -> None:
    """Make a wheel of a folder with a pure Python package."""
    name, version = target.name.split("-")[:2]
    files = {
        str(path.relative_to(package.parent)): path.read_bytes()
        for path in sorted(package.rglob("*.py"))
    }
    info = f"{name}-{version}.dist-info"
    files[f"{info}/METADATA"] = (
        f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
        f"Summary: a stand-in for {name}, for tests in a virtual lab\nLicense: Apache-2.0\n"
    ).encode()
    files[f"{info}/WHEEL"] = (
        b"Wheel-Version: 1.0\nGenerator: vlab\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    )
    write_wheel(target, files)


def write_wheel(target: Path, files: dict[str, bytes]) -> None:
    """Write a wheel, stored not deflated, with a RECORD of its files; same bytes each time."""
    (info,) = {name.split("/")[0] for name in files if name.split("/")[0].endswith(".dist-info")}
    record = "".join(_record(files.items())) + f"{info}/RECORD,,\n"
    with zipfile.ZipFile(target, "w") as wheel:
        for name, data in (*files.items(), (f"{info}/RECORD", record.encode())):
            entry = zipfile.ZipInfo(name)
            entry.external_attr = 0o644 << 16
            wheel.writestr(entry, data)


def _record(files: Iterable[tuple[str, bytes]]) -> Iterable[str]:
    for name, data in files:
        digest = urlsafe_b64encode(hashlib.sha256(data).digest()).decode().rstrip("=")
        yield f"{name},sha256={digest},{len(data)}\n"
