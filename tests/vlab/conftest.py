"""The runs that the tests below look at; each is made once."""

from collections.abc import Iterator

import pytest

from tests.vlab import acceptance
from tests.vlab.acceptance import Finished


@pytest.fixture(scope="session")
def whole_run(pytestconfig: pytest.Config) -> Iterator[Finished]:
    """One real acceptance run on the virtual lab, from start to end."""
    manager = pytestconfig.pluginmanager.get_plugin("capturemanager")
    assert manager is not None
    with manager.global_and_fixture_disabled(), acceptance.started("-m", "acceptance") as process:
        yield acceptance.finish(process)


@pytest.fixture(scope="session")
def run_without_gpu(pytestconfig: pytest.Config) -> Iterator[Finished]:
    """The same with the device left out of the lab."""
    manager = pytestconfig.pluginmanager.get_plugin("capturemanager")
    assert manager is not None
    with (
        manager.global_and_fixture_disabled(),
        acceptance.started(
            "-m", "gpu or container or model", env={"ACCEPT_VLAB__GPUS": "0"}
        ) as process,
    ):
        yield acceptance.finish(process)


@pytest.fixture(scope="session")
def terminated_run(pytestconfig: pytest.Config) -> Iterator[Finished]:
    """A run that gets SIGTERM, as a cancelled CI job does, when the network stage has ended."""
    manager = pytestconfig.pluginmanager.get_plugin("capturemanager")
    assert manager is not None
    with (
        manager.global_and_fixture_disabled(),
        acceptance.started("-m", "gpu or network") as process,
    ):
        before = acceptance.follow(process, until="[network] ok")
        process.terminate()
        yield acceptance.finish(process, before)
