"""The runs that the tests below look at; each is made once."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.vlab import acceptance
from tests.vlab.acceptance import Finished
from tests.vlab.by_hand import Lab
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


@pytest.fixture(scope="session")
def whole_run(pytestconfig: pytest.Config) -> Finished:
    """One real acceptance run on the virtual lab, from start to end."""
    return carry_out(pytestconfig, "-m", "acceptance")


@pytest.fixture(scope="session")
def run_without_gpu(pytestconfig: pytest.Config) -> Finished:
    """The same suites with the device left out of the lab."""
    without = {"ACCEPT_VLAB__GPUS": "0"}
    return carry_out(pytestconfig, "-m", "gpu or model", env=without)


@pytest.fixture(scope="session")
def terminated_run(pytestconfig: pytest.Config) -> Finished:
    """A run that gets SIGTERM, as a cancelled CI job does, when the network stage has ended."""
    return carry_out(pytestconfig, "-m", "gpu or network", stop_at="[network] ok")


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
