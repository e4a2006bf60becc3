"""The runs that the tests below look at; each is made once."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

from tests.vlab import acceptance
from tests.vlab.acceptance import Finished
from tests.vlab.by_hand import Lab
from tests.vlab.fingerprint import fingerprint
from vlab import image, machine
from vlab.qemu import Settings


def carry_out(
    config: pytest.Config,
    *arguments: str,
    env: dict[str, str] | None = None,
    stop_at: str | None = None,
) -> Finished:
    """``pytest ARGUMENTS`` to its end, its output passed on; SIGTERM when it says ``stop_at``."""
    capture = config.pluginmanager.get_plugin("capturemanager")
    assert capture is not None
    with capture.global_and_fixture_disabled(), acceptance.started(*arguments, env=env) as process:
        before = ""
        if stop_at is not None:
            before = acceptance.follow(process, until=stop_at)
            process.terminate()
        return acceptance.finish(process, before)


def vlab(*words: str) -> None:
    """``python -m vlab``, as one would say it."""
    subprocess.run([sys.executable, "-m", "vlab", *words], check=True, cwd=acceptance.ROOT)


@pytest.fixture(scope="module")
def kept_lab(pytestconfig: pytest.Config) -> Iterator[machine.Machine]:
    """A lab that stays up for more than one run, as somebody has who works with it."""
    capture = pytestconfig.pluginmanager.get_plugin("capturemanager")
    assert capture is not None
    name = f"tests-{os.getpid()}"
    with capture.global_and_fixture_disabled():
        vlab("up", "--name", name)
    try:
        yield next(lab for lab in machine.find() if lab.name == name)
    finally:
        vlab("down", name)


@pytest.fixture(scope="module")
def before(kept_lab: machine.Machine) -> list[str]:
    """The lab before the first run."""
    return fingerprint(Lab(kept_lab.ssh))


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


@contextmanager
def own_tests(text: str) -> Iterator[None]:
    """A file of tests in suites/local, as a lab may have one; gone afterwards."""
    folder = acceptance.ROOT / "suites" / "local"
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


def on_kept(config: pytest.Config, lab: machine.Machine) -> Finished:
    """The whole acceptance run, on a lab that is up."""
    named = {"ACCEPT_VLAB__NAME": lab.name, "ACCEPT_VLAB__FRESH": "false"}
    return carry_out(config, "-m", "acceptance", env=named)


@pytest.fixture(scope="module")
def whole_run(
    pytestconfig: pytest.Config, kept_lab: machine.Machine, before: list[str]
) -> Finished:
    """One real acceptance run, from start to end."""
    return on_kept(pytestconfig, kept_lab)


@pytest.fixture(scope="module")
def after(kept_lab: machine.Machine, whole_run: Finished) -> list[str]:
    """The lab after it."""
    return fingerprint(Lab(kept_lab.ssh))


@pytest.fixture(scope="module")
def second_run(
    pytestconfig: pytest.Config, kept_lab: machine.Machine, after: list[str]
) -> Finished:
    """The same again, with tests of the lab's own, one of which fails."""
    with own_tests(OWN_TESTS):
        return on_kept(pytestconfig, kept_lab)


@pytest.fixture(scope="session")
def run_without_gpu(pytestconfig: pytest.Config) -> Finished:
    """The same suites with the device left out of the lab."""
    without = {"ACCEPT_VLAB__GPUS": "0"}
    return carry_out(pytestconfig, "-m", "gpu or model", env=without)


@pytest.fixture(scope="session")
def terminated_run(pytestconfig: pytest.Config) -> Finished:
    """A run that gets SIGTERM, as a cancelled CI job does, when the network stage has ended.

    Its guest image is partitioned, and its GPU has an audio device in its IOMMU group.
    """
    other = {
        "ACCEPT_GUEST__BASE_IMAGE": "/srv/lab/rootfs-partitioned.img",
        "ACCEPT_VLAB__MULTIFUNCTION": "true",
    }
    suites = "rootfs or gpu or network"
    return carry_out(pytestconfig, "-m", suites, env=other, stop_at="[network] ok")


@pytest.fixture(scope="module")
def lab(pytestconfig: pytest.Config) -> Iterator[Lab]:
    """A lab to work in by hand, whose GPU has an audio function in its IOMMU group."""
    capture = pytestconfig.pluginmanager.get_plugin("capturemanager")
    assert capture is not None

    def say(text: str) -> None:
        print(f"    | {text}", file=sys.__stdout__, flush=True)

    with ExitStack() as stack:
        with capture.global_and_fixture_disabled():
            settings = Settings(multifunction=True)
            up = stack.enter_context(machine.running(image.ensure(say), settings, say))
        yield Lab(up.ssh)
