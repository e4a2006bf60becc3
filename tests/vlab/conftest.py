"""The labs and runs that the tests here look at; each is made once.

One lab serves nearly all, and has what is rarer: an audio function in the GPU's IOMMU group and,
every other day, a guest image with a partition table. The runs that are terminated have the plain
ones.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from datetime import UTC, datetime

import pytest

from tests.conftest import Shown
from tests.vlab.lab import BARE, LAB_FILES, ROOT, Finished, Lab, accept
from vlab.preflight import OVERHEAD, available_memory
from vlab.qemu import GPU_ID, Settings

# The name of the guest's base image is a link on many hosts, to the release of kata's image.
PARTITIONED = f"""
cd {LAB_FILES}
mv rootfs.img {BARE}
ln -s rootfs-partitioned.img rootfs.img
"""


def started(shown: Shown, lab: AbstractContextManager[Lab]) -> Iterator[Lab]:
    """The lab, which is seen to start."""
    with ExitStack() as stack:
        with shown():
            up = stack.enter_context(lab)
        yield up


@pytest.fixture(scope="session")
def partitioned() -> bool:
    """Whether the guest image has partitions on this day."""
    return bool(datetime.now(UTC).date().toordinal() % 2)


@pytest.fixture(scope="session")
def kept_lab(shown: Shown, partitioned: bool) -> Iterator[Lab]:
    """A lab that stays up for more than one run."""
    for lab in started(shown, Lab.up("--multifunction")):
        if partitioned:
            lab.do(PARTITIONED)
        yield lab


@pytest.fixture(scope="session")
def before(kept_lab: Lab) -> list[str]:
    """The lab before the first run."""
    return kept_lab.fingerprint()


# As testinfra's documentation writes them, and as whoever owns the lab would.
OWN_TESTS = """
def test_own_containerd(host):
    assert host.package("containerd").is_installed
    assert host.service("containerd").is_running
    assert host.socket("tcp://22").is_listening
    assert host.exists("docker")


def test_own_files(host, gpu):
    passwd = host.file("/etc/passwd")
    assert (passwd.user, passwd.group, passwd.mode) == ("root", "root", 0o644)
    listed = host.run("ls -- %s", "/dev/vfio")
    assert listed.succeeded
    assert {group.number for group in gpu.groups} <= {*listed.stdout.split()}


def test_own_network(host, network):
    assert host.interface(network.bridge).exists
    assert network.gateway in host.interface(network.bridge).addresses
    assert host.check_output("uname -s") == "Linux"


def test_own_that_fails(host):
    assert host.file("/etc/passwd").contains("no such user at all"), "it was looked at"
"""


MOST = 2  # labs at once: the files that the tests are in are not to be divided further


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """How many labs at once have room in this computer's memory."""
    return max(1, min(MOST, available_memory() // (Settings().memory + OVERHEAD)))


@contextmanager
def own_tests(text: str) -> Iterator[None]:
    """A file of tests in suites/local, as a lab may have one; gone afterwards."""
    folder = ROOT / "suites" / "local"
    fresh = not folder.exists()
    folder.mkdir(exist_ok=True)
    path = folder / f"test_tests_{os.getpid()}.py"
    path.write_text(text, encoding="utf-8")
    try:
        yield
    finally:
        path.unlink()
        if fresh:
            shutil.rmtree(folder)  # what Python has cached is in it, too


@pytest.fixture(scope="session")
def whole_run(shown: Shown, kept_lab: Lab, before: list[str]) -> Finished:
    """One real acceptance run, from start to end."""
    with shown():
        return kept_lab.accept()


@pytest.fixture(scope="session")
def after(kept_lab: Lab, whole_run: Finished) -> list[str]:
    """The lab after it."""
    return kept_lab.fingerprint()


@pytest.fixture(scope="session")
def second_run(shown: Shown, kept_lab: Lab, after: list[str]) -> Finished:
    """What lasts, and what the lab's own tests need: one of those fails."""
    suites = "rootfs or image or gpu or network or local"
    with shown(), own_tests(OWN_TESTS):
        return kept_lab.accept(suites)


@pytest.fixture(scope="session")
def run_without_gpu(shown: Shown, kept_lab: Lab, second_run: Finished) -> Finished:
    """The same suites with the device taken out of the lab, and put back after them."""
    gpu = kept_lab.do(f"lspci -Dn -d {GPU_ID}").split()[0]
    kept_lab.do(f"echo 1 > /sys/bus/pci/devices/{gpu}/remove")
    with shown():
        run = kept_lab.accept("gpu or model")
    kept_lab.do("echo 1 > /sys/bus/pci/rescan")
    return run


@pytest.fixture(scope="session")
def terminated_run(shown: Shown) -> Finished:
    """A run on a lab of its own that gets SIGTERM, as a cancelled CI job does, after two stages."""
    with shown():
        return accept("gpu or network", stop_at="[network] ok")
