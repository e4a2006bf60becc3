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
from tests.unit.contract import real
from tests.unit.kept import PASSED
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
    (tree / "include/generated/uapi/linux").mkdir(parents=True)
    (tree / "include/generated/uapi/linux/version.h").touch()
    return tree


@pytest.fixture
def install(package: Path, bin_folder: Path, tree: Path, tmp_path: Path) -> Run:
    """Run the package with the guide's options, into a folder of the test."""

    def run(*options: str, depmod: bool = False) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [
                *(str(package), "--silent", f"--kernel-name={RELEASE}"),
                *(f"--kernel-source-path={tree}/", "--skip-module-load"),
                *([] if depmod else ["--skip-depmod"]),
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


# The real one is at its worst where it says nothing, or where it ends well and is not whole. It is
# asked here, too, if NVIDIA_RUN names its package, about what needs neither root nor a guest.
INSTALLER = PASSED.parent / "nvidia/installer"
LOGGED = re.compile(
    r"^(?:ERROR: |WARNING: Unable to find installed|-> Post-install|-> Installation of)"
)


def plain(text: str) -> str:
    """Without the paths, versions and releases that are another each time."""
    text = re.sub(r"'?/[\w./-]*/kernel(?=[/' .])", "TREE", text.replace("'/home/kernel", "'TREE"))
    text = re.sub(r"[\w./-]*(?:installer|nvidia-installer)\.log", "LOG", text)
    text = re.sub(r"(?:PACKAGE|/[\w./-]+)/nvidia-installer", "INSTALLER", text)
    text = re.sub(r"'?TREE", "TREE", text)
    text = re.sub(r"/[\w./-]*/(?=depmod)|'/[\w./-]*/(?=gsp_|nvidia)", "", text)
    text = re.sub(r" -a [\w.-]+|\(version: [\d.]+\)", "", text)
    return re.sub(r"\((?:No space left on device|Not a directory)\)", "(WHY)", text)


def said(name: str) -> list[str]:
    """The recorded words: last ones on standard error, or the judged lines of a log."""
    path = INSTALLER / name
    lines = path.read_text().splitlines()
    return [plain(line) for line in lines if path.suffix == ".err" or LOGGED.match(line)]


def arrange(name: str, bin_folder: Path, tree: Path, tmp_path: Path) -> None:
    if name in ("no-cc.err", "no-ld.err"):
        (bin_folder / name[3:5]).unlink()
    if name == "no-kernel-source.err":
        shutil.rmtree(tree)
    if name == "kernel-not-configured.err":
        (tree / "include/generated/uapi/linux/version.h").unlink()
    if name == "build-fails.log":
        _script(bin_folder / "make", "exit 2")
    if name == "no-space-for-firmware.log":
        (tmp_path / "lib").touch()  # where the firmware would go
    if name == "depmod-fails.log":
        _script(bin_folder / "depmod", "echo 'depmod: ERROR: could not open directory' >&2; exit 1")


@pytest.mark.parametrize(
    ("name", "status"),
    [
        *(("no-cc.err", 1), ("no-ld.err", 1), ("no-kernel-source.err", 1)),
        *(("kernel-not-configured.err", 1), ("unknown-option.err", 1), ("build-fails.log", 1)),
        *(("ok.log", 0), ("depmod-fails.log", 0), ("no-space-for-firmware.log", 0)),
    ],
)
def test_package_says_what_the_real_one_says(
    install: Run, bin_folder: Path, tree: Path, tmp_path: Path, name: str, status: int
) -> None:
    arrange(name, bin_folder, tree, tmp_path)
    options = ["--no-such-option"] if name == "unknown-option.err" else []
    done = install(*options, depmod=name == "depmod-fails.log")
    assert done.returncode == status
    if name.endswith(".err"):
        assert [plain(line) for line in done.stderr.splitlines() if line] == said(name)
        return
    log = (tmp_path / "installer.log").read_text()
    assert [plain(line) for line in log.splitlines() if LOGGED.match(line)] == said(name)
    assert bool(faults(log)) == bool(faults((INSTALLER / name).read_text()))


def test_the_real_package_refuses_an_unknown_option_as_recorded() -> None:
    path = real("NVIDIA-Linux.run", "NVIDIA_RUN")
    done = subprocess.run(["sh", path, "--no-such-option"], capture_output=True, text=True)
    lines = [plain(line) for line in done.stderr.splitlines() if line]
    assert (done.returncode, lines[-2:]) == (1, said("unknown-option.err"))


def test_package_that_is_not_whole_ends_well_and_says_so_in_its_log(
    install: Run, tmp_path: Path
) -> None:
    (tmp_path / "lib").touch()  # where the firmware would go
    assert install().returncode == 0
    log = (tmp_path / "installer.log").read_text()
    assert "ERROR: Unable to create" in faults(log)[0]
    assert faults(log)[-1].endswith("sanity check failed.")


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
