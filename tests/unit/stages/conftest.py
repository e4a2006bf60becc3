"""A run of all stages, once; and for each test one of its own, on a host that a test may change."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import pytest

from tests.unit.stages.lab import STAGES, Lab
from tests.unit.stages.server import Server, served


@pytest.fixture(scope="package")
def listening() -> Iterator[Server]:
    """The model server's HTTP part."""
    with served() as server:
        yield server


@pytest.fixture
def server(listening: Server) -> Server:
    """The same, as the recorded one, for a test to change."""
    listening.reset()
    return listening


@pytest.fixture(scope="package")
def passed(tmp_path_factory: pytest.TempPathFactory, listening: Server) -> Lab:
    """A run in which every stage has been brought about, in the guide's order."""
    listening.reset()
    lab = Lab(tmp_path_factory.mktemp("passed"), {})
    listening.lead_to(lab.host)
    for name in STAGES:
        lab.bring(name)
    assert not lab.host.unknown
    return lab


class MakeLab(Protocol):
    """`Lab` with the facts of all stages."""

    def __call__(self, **options: Any) -> Lab: ...


@pytest.fixture
def make_lab(passed: Lab, tmp_path: Path) -> Iterator[MakeLab]:
    """Makes labs; at the end each command had a reply, and each changed reply its command."""
    labs: list[Lab] = []

    def make(**options: Any) -> Lab:
        facts = {name: passed.facts[name] for name in STAGES}
        labs.append(Lab(tmp_path / str(len(labs)), facts, **options))
        return labs[-1]

    yield make
    for lab in labs:
        assert not lab.host.unknown
        assert not lab.host.unused()


@pytest.fixture
def lab(make_lab: MakeLab) -> Lab:
    """As the recorded run found it."""
    return make_lab()


@pytest.fixture
def ready(make_lab: MakeLab) -> Lab:
    """As the recorded run's stages have left it, to be looked at only."""
    return make_lab(ready=True, provision="never")
