"""The labs and runs that the tests here look at; each is made once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack

import pytest

from tests.vlab.lab import Finished, Lab, accept

Shown = Callable[[], AbstractContextManager[None]]


@pytest.fixture(scope="session")
def shown(pytestconfig: pytest.Config) -> Shown:
    """For a block whose output is for the terminal, at once: it takes minutes."""
    capture = pytestconfig.pluginmanager.get_plugin("capturemanager")
    assert capture is not None
    within: Shown = capture.global_and_fixture_disabled
    return within


def started(shown: Shown, lab: AbstractContextManager[Lab]) -> Iterator[Lab]:
    """The lab, which is seen to start."""
    with ExitStack() as stack:
        with shown():
            up = stack.enter_context(lab)
        yield up


@pytest.fixture(scope="module")
def lab(shown: Shown) -> Iterator[Lab]:
    """A lab to work in by hand, whose GPU has an audio function in its IOMMU group."""
    yield from started(shown, Lab.leased(multifunction=True))


@pytest.fixture(scope="module")
def kept_lab(shown: Shown) -> Iterator[Lab]:
    """A lab that stays up for more than one run."""
    yield from started(shown, Lab.up())


@pytest.fixture(scope="module")
def before(kept_lab: Lab) -> list[str]:
    """The lab before the first run."""
    return kept_lab.fingerprint()


@pytest.fixture(scope="module")
def whole_run(shown: Shown, kept_lab: Lab, before: list[str]) -> Finished:
    """One real acceptance run, from start to end."""
    with shown():
        return kept_lab.accept()


@pytest.fixture(scope="module")
def after(kept_lab: Lab, whole_run: Finished) -> list[str]:
    """The lab after it."""
    return kept_lab.fingerprint()


@pytest.fixture(scope="module")
def second_run(shown: Shown, kept_lab: Lab, after: list[str]) -> Finished:
    """The same again."""
    with shown():
        return kept_lab.accept()


@pytest.fixture(scope="session")
def run_without_gpu(shown: Shown) -> Finished:
    """The same suites with the device left out of the lab."""
    with shown():
        return accept("gpu or model", VLAB__GPUS="0")


@pytest.fixture(scope="session")
def terminated_run(shown: Shown) -> Finished:
    """A run that gets SIGTERM, as a cancelled CI job does, when the network stage has ended.

    Its guest image is partitioned, and its GPU has an audio device in its IOMMU group.
    """
    with shown():
        return accept(
            "rootfs or gpu or network",
            stop_at="[network] ok",
            GUEST__BASE_IMAGE="/srv/lab/rootfs-partitioned.img",
            VLAB__MULTIFUNCTION="true",
        )
