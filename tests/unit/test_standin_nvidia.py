"""The stand-in for NVIDIA's driver package, and Debian's packages as RPMs, without root."""

import io
import re
import shutil
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from fixtures.rootfs.driver import faults
from vlab.standins import nvidia
from vlab.standins.guest import rpmdb
from vlab.standins.nvidia import driver, rewrap

VERSION = nvidia.DRIVER_VERSION
RELEASE = "6.12.1-cloud-amd64"
TOOLS = (
    *("sh", "tail", "sha256sum", "mktemp", "tar", "rm", "mkdir", "dirname", "basename", "date"),
    *("id", "uname", "cp", "chmod", "ln", "cat", "touch", "tee"),
)

Run = Callable[..., subprocess.CompletedProcess[str]]


def _link_tools(folder: Path, *names: str) -> None:
    folder.mkdir(exist_ok=True)
    for name in names:
        found = shutil.which(name)
        assert found, f"this machine has no '{name}'"
        (folder / name).symlink_to(found)


def _script(path: Path, text: str) -> None:
    path.write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
    path.chmod(0o755)


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A driver package whose compiled files are placeholders."""
    names = ("nvidia-smi", f"libnvidia-ml.so.{VERSION}", f"libcuda.so.{VERSION}")
    path = tmp_path / driver.package_name(VERSION, "x86_64")
    path.write_bytes(driver.pack(VERSION, "x86_64", {name: name.encode() for name in names}))
    path.chmod(0o755)
    return path


@pytest.fixture
def bin_folder(tmp_path: Path) -> Path:
    """A PATH with what a guest has, and a make that only leaves the file a build would leave."""
    folder = tmp_path / "bin"
    _link_tools(folder, *TOOLS)
    _script(folder / "cc", "exit 1")
    _script(folder / "ld", "exit 1")
    _script(
        folder / "make",
        "for word; do case $word in M=*) cd ${word#M=}; esac; done\n"
        "echo built | tee nvidia.ko > nvidia-uvm.ko",
    )
    return folder


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A kernel tree that looks configured."""
    tree = tmp_path / "kernel"
    (tree / "include/config").mkdir(parents=True)
    (tree / "include/config/kernel.release").write_text(f"{RELEASE}\n")
    for name in ("Makefile", ".config", "Module.symvers", "include/config/auto.conf"):
        (tree / name).write_text("x\n")
    return tree


@pytest.fixture
def install(package: Path, bin_folder: Path, tree: Path, tmp_path: Path) -> Run:
    """Run the package with the guide's options, into a folder of the test."""

    def run(*options: str, name: str = RELEASE) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [
                *(str(package), "--silent", f"--kernel-name={name}"),
                *(f"--kernel-source-path={tree}/", "--skip-module-load", "--skip-depmod"),
                *(f"--kernel-install-path={tmp_path}/modules", f"--utility-prefix={tmp_path}/usr"),
                *(f"--log-file-name={tmp_path}/installer.log", "--no-rebuild-initramfs"),
                *("--no-nouveau-check", "--no-check-for-alternate-installs"),
                *("--no-drm", "--no-peermem", *options),
            ],
            env={"PATH": str(bin_folder), "TMPDIR": str(tmp_path)},
            cwd=tmp_path,
            capture_output=True,
            text=True,
        )

    return run


def test_package_installs_module_programs_and_libraries(install: Run, tmp_path: Path) -> None:
    done = install()
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "modules/nvidia.ko").read_text() == "built\n"
    assert (tmp_path / "usr/bin/nvidia-smi").stat().st_mode & 0o111
    library = tmp_path / "usr/lib/x86_64-linux-gnu/libnvidia-ml.so.1"
    assert library.resolve().name == f"libnvidia-ml.so.{VERSION}"
    log = (tmp_path / "installer.log").read_text()
    assert f"--kernel-name={RELEASE}" in log
    assert faults(log) == []
    assert "is now complete" in log
    assert (tmp_path / "modules/nvidia-uvm.ko").is_file()
    assert (tmp_path / f"lib/firmware/nvidia/{VERSION}/gsp_ga10x.bin").is_file()
    assert not list(tmp_path.glob("selfgz.*")), "the unpacked package was left behind"


@pytest.mark.parametrize("missing", ["cc", "make", "ld"])
def test_package_refuses_without_development_tools(
    install: Run, bin_folder: Path, missing: str
) -> None:
    (bin_folder / missing).unlink()
    done = install()
    assert done.returncode == 1
    assert f"Unable to find the development tool `{missing}` in your path" in done.stderr


@pytest.mark.parametrize(
    "missing", [".config", "Module.symvers", "include/config/kernel.release", "Makefile"]
)
def test_package_refuses_tree_that_is_not_configured(
    install: Run, tree: Path, missing: str
) -> None:
    (tree / missing).unlink()
    done = install()
    assert done.returncode == 1
    assert f"is invalid: it has no '{missing}'" in done.stderr


def test_package_refuses_kernel_name_of_another_tree(install: Run, tmp_path: Path) -> None:
    done = install(name="6.18.0-host")
    assert done.returncode == 1
    assert f"is for kernel '{RELEASE}'" in done.stderr
    assert "for kernel '6.18.0-host'" in (tmp_path / "installer.log").read_text()
    assert not (tmp_path / "modules").exists()


def test_package_fails_when_the_build_fails(install: Run, bin_folder: Path) -> None:
    _script(bin_folder / "make", "exit 2")
    done = install()
    assert done.returncode == 1
    assert "Building kernel modules" in done.stderr


def test_package_that_is_not_whole_ends_well_and_says_so_in_its_log(
    install: Run, tmp_path: Path
) -> None:
    (tmp_path / "lib").touch()  # where the firmware would go
    assert install().returncode == 0
    log = (tmp_path / "installer.log").read_text()
    assert "ERROR: Unable to create" in faults(log)[0]
    assert faults(log)[-1].endswith("sanity check failed.")


def test_package_refuses_unknown_option(install: Run) -> None:
    done = install("--no-such-option")
    assert done.returncode == 1
    assert 'unrecognized option: "--no-such-option"' in done.stderr


@pytest.mark.parametrize("option", ["--help", "-h", "-A", "--advanced-options"])
def test_package_explains_itself_and_changes_nothing(
    install: Run, tmp_path: Path, option: str
) -> None:
    done = install(option)
    assert (done.returncode, "--kernel-source-path=PATH" in done.stdout) == (0, True)
    assert not (tmp_path / "installer.log").exists()
    assert not (tmp_path / "modules").exists()


def test_package_says_its_version(install: Run) -> None:
    done = install("--version")
    assert (done.returncode, f"version {VERSION}" in done.stdout) == (0, True)


def test_package_waits_for_no_answer_where_nobody_can_give_one(
    package: Path, bin_folder: Path, tree: Path, tmp_path: Path
) -> None:
    done = subprocess.run(
        [
            *(package, f"--kernel-name={RELEASE}", f"--kernel-source-path={tree}"),
            *(f"--utility-prefix={tmp_path}/usr", f"--log-file-name={tmp_path}/log"),
        ],
        env={"PATH": str(bin_folder), "TMPDIR": str(tmp_path)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert "Would you like to rebuild the initramfs?" in done.stderr
    assert "was not answered" in done.stderr


def test_package_detects_damage(package: Path) -> None:
    whole = subprocess.run([package, "--check"], capture_output=True, text=True)
    assert (whole.returncode, "OK" in whole.stdout) == (0, True)
    data = bytearray(package.read_bytes())
    data[-20_000] ^= 1
    package.write_bytes(data)
    damaged = subprocess.run([package, "--check"], capture_output=True, text=True)
    assert damaged.returncode == 1
    assert "Error in check sums" in damaged.stderr


def test_package_only_unpacks_when_asked_to(package: Path, tmp_path: Path) -> None:
    subprocess.run([package, "-x"], cwd=tmp_path, check=True, capture_output=True)
    unpacked = tmp_path / f"NVIDIA-Linux-x86_64-{VERSION}"
    assert (unpacked / "kernel/nvidia.c").is_file()
    assert VERSION in (unpacked / "nvidia-installer").read_text()


def test_package_payload_is_a_plain_archive(package: Path) -> None:
    data = package.read_bytes()
    header, _, _ = data.partition(b"\nexit $?\n")
    payload = data[len(header) + len(b"\nexit $?\n") :]
    with tarfile.open(fileobj=io.BytesIO(payload)) as archive:
        assert {"nvidia-installer", "kernel/nvidia.c", "kernel/Kbuild"} <= set(archive.getnames())


def test_toolkit_needs_nothing_that_neither_guest_nor_repository_has() -> None:
    spec = (Path(nvidia.__file__).parent / "toolkit/toolkit.spec").read_text()
    name = re.findall(r"^Name: (\S+)", spec, re.M)
    packages = {*name, *re.findall(r"^%package -n (\S+)", spec, re.M)}
    packages |= {f"{name[0]}-{part}" for part in re.findall(r"^%package (\w+)$", spec, re.M)}
    assert len(packages) == 4
    wanted = re.findall(r"^Requires: (.*)$", spec, re.M)
    needs = {one.split()[0] for line in wanted for one in line.split(",")}
    # What runs a scriptlet is needed by it.
    needs |= {*re.findall(r"^%post\w*\b.* -p (\S+)", spec, re.M), "/bin/sh"}
    provided = {*re.findall(r"^Provides: (\S+)", rpmdb.SPEC, re.M)}
    assert needs <= packages | provided


CONTROL = """\
Package: gcc-14
Version: 14.2.0-19+b1
Depends: gcc-14-base (= 14.2.0-19), cpp-14:any | cpp-13, libc6 (>= 2.38)
Pre-Depends: binutils
Description: GNU C compiler
 This is the compiler.
"""


def test_rewrapped_package_needs_only_what_is_in_the_set() -> None:
    names = {"gcc-14", "cpp-14", "binutils"}
    package = rewrap.described(rewrap.fields(CONTROL), names, ["/usr/bin/gcc-14"])
    assert package.needs == ("binutils", "cpp-14")
    assert (package.version, package.release) == ("14.2.0", "19+b1")
    assert package.summary == "GNU C compiler"
    text = rewrap.spec([package], "/trees")
    assert "%package -n gcc-14\nVersion: 14.2.0\nRelease: 19+b1\n" in text
    assert '%files -n gcc-14\n"/usr/bin/gcc-14"\n' in text


@pytest.mark.parametrize(
    ("debian", "rpm"),
    [
        ("1:3.13.0-2", ("3.13.0", "2")),
        ("0.0~2025.06.09-1", ("0.0~2025.06.09", "1")),
        ("4.4", ("4.4", "0")),
        ("2:1.0-rc1-3", ("1.0~rc1", "3")),
    ],
)
def test_debian_versions_become_rpm_versions(debian: str, rpm: tuple[str, str]) -> None:
    assert rewrap.split_version(debian) == rpm


def test_thinning_keeps_the_compiler_and_links(tmp_path: Path) -> None:
    kept = ("usr/bin/gcc", "usr/libexec/gcc/x/14/cc1")
    dropped = ("usr/share/doc/gcc/README", "usr/libexec/gcc/x/14/lto1")
    for name in (*kept, *dropped):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "usr/lib").mkdir()
    (tmp_path / "usr/lib/link").symlink_to("../libexec")
    assert sorted(rewrap.thin(tmp_path)) == sorted(f"/{name}" for name in (*kept, "usr/lib/link"))
    assert not (tmp_path / dropped[0]).exists()
