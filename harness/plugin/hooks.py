"""The harness's hooks: what a project provides for a run, and what happens at its end.

A plugin implements one by a function of its name, in pytest's way; `python -m harness` asks the
same plugins, those that the root conftest names. So the harness knows none of them.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from harness.host.host import Host
from harness.plugin.session import Session
from harness.profile.schema import BaseProfile
from harness.run.stage import Run


@pytest.hookspec(firstresult=True)
def pytest_acceptance_schema() -> type[BaseProfile] | None:
    """The class of the project's profiles."""


@pytest.hookspec(firstresult=True)
def pytest_acceptance_connect(
    session: Session, profile: Any, run_dir: Path
) -> AbstractContextManager[Host] | None:
    """The host of a profile of that class, open for the length of the block; LabError if it fails.

    `run_dir` is the run's own folder.
    """


@pytest.hookspec(firstresult=True)
def pytest_acceptance_leftovers(
    session: Session, profile: Any, run_dir: Path
) -> Iterable[AbstractContextManager[Host]] | None:
    """The hosts on which dead or kept runs of a profile may have left something.

    Without one it is the host that `pytest_acceptance_connect` gives.
    """


@pytest.hookspec(firstresult=True)
def pytest_acceptance_state_dir() -> str | None:
    """The harness's own folder on a host; by default `harness.undo.lock.STATE_DIR`."""


@pytest.hookspec
def pytest_acceptance_facts() -> Mapping[str, object] | None:
    """Facts, by name, that the record of every run begins with."""


@pytest.hookspec
def pytest_acceptance_opened(run: Run[Any]) -> None:
    """The host is open and its lock is held; nothing has been changed."""


@pytest.hookspec
def pytest_acceptance_put_back(run: Run[Any], restored: bool) -> list[str] | None:
    """Everything has been undone (``restored``: also what is kept otherwise); the host is open.

    A line for each thing that is on the host all the same: the run ends with exit status 11.
    """


@pytest.hookspec
def pytest_acceptance_recovered(host: Host, state: str) -> None:
    """What dead runs left on a host is undone; ``state`` is the harness's own folder there."""


@pytest.hookspec
def pytest_acceptance_commands(
    add: Callable[..., argparse.ArgumentParser],
    add_to_profile: Callable[..., argparse.ArgumentParser],
    with_session: Callable[[Callable[[Session], int]], Callable[[argparse.Namespace], int]],
) -> None:
    """Add commands to `python -m harness` by `add`, which is argparse's `add_parser`.

    `add_to_profile` adds one below `profile`. A command's default `work` takes the parsed arguments
    and returns the exit status; `with_session` makes one of what takes a session.
    """


@pytest.hookspec
def pytest_acceptance_kept(run: Run[Any]) -> list[str] | None:
    """The host is left as it is, and still open: lines that lead to what stands on it."""


@pytest.hookspec
def pytest_acceptance_ending(config: pytest.Config, folder: Path) -> None:
    """The host is put back, and the record is still open for facts.

    What earlier runs say of this one goes into the session's outcome: `regression`, `tolerated`.
    """


@pytest.hookspec
def pytest_acceptance_ended(config: pytest.Config, folder: Path) -> None:
    """The record is complete, and lies in `folder`. What this raises is a harness error."""


@pytest.hookspec
def pytest_acceptance_fleet_ended(config: pytest.Config, folders: Sequence[Path]) -> None:
    """All runs of a fleet (`--lab`) have ended; the folders of those that have a record.

    They come in the order of the labs. What this raises is a harness error.
    """
