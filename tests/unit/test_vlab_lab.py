"""How a run gets its virtual lab, and what becomes of that at the run's end; without a VM."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from fixtures import lab as joint
from fixtures.profile import Profile
from harness.plugin.session import Session
from harness.profile.schema import load
from tests.unit.labs import emulated, entered
from vlab import machine, recipe, registry
from vlab.errors import VlabError
from vlab.qemu import Settings
from vlab.registry import Machine

PROFILES = Path(__file__).parents[2] / "profiles"


@pytest.fixture
def profile() -> Profile:
    """The default profile."""
    profile = load("vlab", Profile, {}, PROFILES)
    assert isinstance(profile, Profile)
    return profile


@pytest.fixture
def said() -> list[str]:
    """What the session says."""
    return []


@pytest.fixture
def session(
    pytestconfig: pytest.Config, profile: Profile, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> Session:
    """A session that has got as far as its host."""
    made = Session(pytestconfig, Profile, lambda profile, folder: contextlib.nullcontext())  # type: ignore[arg-type, return-value]
    monkeypatch.setattr(made, "say", said.append)
    made._profile = profile
    return made


@pytest.fixture
def up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    """A lab of the default settings that stays; its emulator is a process that sleeps."""
    monkeypatch.setenv("VLAB_CACHE", str(tmp_path / "cache"))
    lab = entered("mine", recipe=recipe.digest(), owner=None)
    lab.console.write_text("before\n")
    with emulated(lab) as lab:
        yield lab


def taken(up: Machine, session: Session, console: Path) -> Machine | None:
    with contextlib.ExitStack() as stack:
        return joint._take(stack, "", Settings(), console, session)


def test_a_lab_is_taken_by_its_name_or_not_at_all(
    up: Machine, session: Session, tmp_path: Path
) -> None:
    with contextlib.ExitStack() as stack:
        with pytest.raises(VlabError, match="no lab 'other' is up"):
            joint._take(stack, "other", Settings(), tmp_path / "console", session)
        assert joint._take(stack, up.name, Settings(), tmp_path / "console", session) == up


def test_a_run_uses_a_lab_that_is_up_and_says_so(
    up: Machine, session: Session, said: list[str], tmp_path: Path
) -> None:
    console = tmp_path / "evidence" / "lab-console.log"
    with contextlib.ExitStack() as stack:
        assert joint._take(stack, "", Settings(), console, session) == up
        assert "pytest (pid" in (registry.user_of(up) or "")
        assert taken(up, session, console) is None, "it has a user"
        with up.console.open("a") as more:
            more.write("meanwhile\n")
    (line,) = said
    assert "this run uses 'mine', which is up" in line
    assert console.read_text() == "meanwhile\n"
    assert machine.find() == [up], "it stays"
    assert session.farewell == []


def test_a_lab_that_does_not_fit_is_not_used(up: Machine, session: Session, tmp_path: Path) -> None:
    registry.update(up, kept=True)
    assert taken(up, session, tmp_path / "console") is None, "a run's changes are still on it"
    registry.update(up, kept=False, recipe="another")
    assert taken(up, session, tmp_path / "console") is None


def test_a_lab_that_is_kept_between_look_and_take_is_not_used(
    up: Machine, session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = machine.find()
    monkeypatch.setattr(machine, "find", lambda say: found)
    registry.update(up, kept=True)
    assert taken(up, session, tmp_path / "console") is None
    assert registry.user_of(up) is None
    machine.stop(up)
    assert taken(up, session, tmp_path / "console") is None, "taken down meanwhile"


def test_a_runs_own_lab_ends_with_it(up: Machine, session: Session) -> None:
    joint._end(up, session)
    assert not up.alive()
    assert machine.find() == []
    assert session.way_back() == ["nothing is kept: the virtual lab has ended with its run"]


def test_a_kept_run_keeps_its_lab(up: Machine, session: Session) -> None:
    session.kept = True
    joint._end(up, session)
    (kept,) = machine.find()
    assert kept.kept
    assert kept.owner is None
    enter, clean = session.way_back()
    assert enter == "to get in: python -m vlab ssh mine"
    assert clean.endswith("then python -m vlab down mine")
    assert "pytest --recover --profile vlab" in clean


def test_recover_leaves_a_lab_alone_that_is_in_use(
    up: Machine, session: Session, profile: Profile, said: list[str]
) -> None:
    with registry.used(up, "a neighbour"):
        assert list(joint.leftovers(profile, Path("run"), session)) == []
    assert "in use by a neighbour" in said[-1]
    assert len(list(joint.leftovers(profile, Path("run"), session))) == 1


def test_recover_without_a_lab_says_that_there_is_nothing(
    profile: Profile,
    session: Session,
    said: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("VLAB_CACHE", str(tmp_path))
    assert list(joint.leftovers(profile, Path("run"), session)) == []
    assert "nothing to recover" in said[0]


def test_the_command_lines_accelerator_wins(
    session: Session, profile: Profile, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert joint._settings(profile, session).accel == "auto"
    monkeypatch.setattr(session.config.option, "vlab_accel", "tcg")
    assert joint._settings(profile, session).accel == "tcg"


@pytest.mark.parametrize(
    ("ssh_after", "expected"), [(0.0, 1.0), (21.0, 1.0), (14.0, 1.0), (63.0, 3.0)]
)
def test_a_host_has_the_pace_that_its_labs_boot_has_shown(
    up: Machine,
    profile: Profile,
    session: Session,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    ssh_after: float,
    expected: float,
) -> None:
    registry.update(up, ssh_after=ssh_after)
    opened = contextlib.nullcontext(SimpleNamespace(pace=1.0))
    monkeypatch.setattr(joint, "_open", lambda lab: opened)
    with joint.connect(profile, tmp_path, session) as host:
        assert host.pace == expected
