"""How a run gets its virtual lab, and what it says of it at its end; without a machine."""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import vlab
from fixtures import lab as joint
from fixtures.profile import Profile
from harness.errors import Refused
from harness.host.command import HostUnreachable
from harness.plugin.session import Session
from harness.profile.schema import load
from harness.undo.journal import Entry
from harness.undo.undo import UndoResult
from harness.wait import wait_for
from tests.unit.labs import emulated, entered
from tests.unit.mini import ROOT
from tests.unit.patience import PATIENCE
from vlab import registry

CHANGE = Entry(1, "gpu", "driver of 0000:01:00.0", (("true",),), None, False)


@pytest.fixture
def profile() -> Profile:
    """The default profile."""
    profile = load("vlab", Profile, {}, ROOT / "profiles")
    assert isinstance(profile, Profile)
    return profile


@pytest.fixture
def said() -> list[str]:
    """What the session says."""
    return []


@pytest.fixture
def session(said: list[str], monkeypatch: pytest.MonkeyPatch) -> Session:
    """A session that has got as far as its host."""
    hook = SimpleNamespace(pytest_acceptance_schema=joint.pytest_acceptance_schema)
    options = argparse.Namespace(profile=None, allow_local=False)
    made = Session(hook, ROOT, options, ["pytest"])
    monkeypatch.setattr(made, "say", said.append)
    return made


@pytest.fixture
def up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[vlab.Machine]:
    """A lab that stays; its emulator is a process that sleeps."""
    monkeypatch.setenv("VLAB_CACHE", str(tmp_path / "cache"))
    with emulated(entered("mine", owner=None)) as lab:
        yield lab


@pytest.fixture
def asked(up: vlab.Machine, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """How a lab was asked for; each time it is 'mine', and nothing is opened on it."""
    leases: list[dict[str, Any]] = []

    @contextlib.contextmanager
    def lease(settings: vlab.Settings, **words: Any) -> Iterator[vlab.Machine]:
        leases.append({"settings": settings, **words})
        yield up
        kept = words["keep"] is not None and words["keep"]()
        words["ended"](up, vlab.Ending.KEPT if kept else vlab.Ending.ENDED)

    monkeypatch.setattr(vlab, "lease", lease)
    monkeypatch.setattr(joint, "_open", contextlib.nullcontext)
    return leases


def test_a_run_leases_a_lab_as_its_profile_wants_it(
    profile: Profile, session: Session, asked: list[dict[str, Any]], tmp_path: Path
) -> None:
    wanted = profile.vlab.model_copy(update={"gpus": 2, "fresh": True, "name": "mine"})
    profile = profile.model_copy(update={"vlab": wanted})
    with joint.pytest_acceptance_connect(session, profile, tmp_path):
        pass
    (lease,) = asked
    assert lease["settings"] == vlab.Settings(gpus=2)
    assert (lease["name"], lease["fresh"]) == ("mine", True)
    assert lease["who"].startswith("an acceptance run (pid ")
    assert lease["console"] == tmp_path / "evidence" / "lab-console.log"


@pytest.mark.parametrize(
    ("ssh_after", "expected"), [(0.0, 1.0), (21.0, 1.0), (14.0, 1.0), (63.0, 3.0)]
)
def test_a_host_has_the_pace_that_its_labs_boot_has_shown(
    up: vlab.Machine, monkeypatch: pytest.MonkeyPatch, ssh_after: float, expected: float
) -> None:
    opened = contextlib.nullcontext(SimpleNamespace(pace=1.0))
    monkeypatch.setattr(joint, "open_ssh", lambda *words, **more: opened)
    with joint._open(registry.update(up, ssh_after=ssh_after)) as host:
        assert host.pace == expected


def test_the_command_lines_accelerator_wins(
    profile: Profile,
    session: Session,
    asked: list[dict[str, Any]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for accel in (None, "tcg"):
        session.options.vlab_accel = accel
        with joint.pytest_acceptance_connect(session, profile, tmp_path):
            pass
    assert [lease["settings"].accel for lease in asked] == ["auto", "tcg"]


def test_a_lab_that_does_not_come_up_is_a_host_that_cannot_be_reached(
    profile: Profile, session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VLAB_CACHE", str(tmp_path))
    wanted = profile.vlab.model_copy(update={"name": "other"})
    profile = profile.model_copy(update={"vlab": wanted})
    with (
        pytest.raises(HostUnreachable, match="did not come up: no lab 'other' is up"),
        joint.pytest_acceptance_connect(session, profile, tmp_path),
    ):
        pass


def test_a_run_that_keeps_nothing_says_that_its_lab_has_ended(
    profile: Profile, session: Session, asked: list[dict[str, Any]], tmp_path: Path
) -> None:
    with joint.pytest_acceptance_connect(session, profile, tmp_path):
        pass
    assert session.cleanup_instructions() == [
        "nothing is kept: the virtual lab has ended with its run"
    ]


def test_a_run_that_is_kept_keeps_its_lab_and_says_the_way_back(
    profile: Profile,
    session: Session,
    asked: list[dict[str, Any]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    session.options.keep = "always"
    with joint.pytest_acceptance_connect(session, profile, tmp_path):
        session.outcome.kept = True  # this comes out at the end, not before
    enter, clean = session.cleanup_instructions()
    assert enter == "to get in: python -m vlab ssh mine"
    assert clean.endswith("then python -m vlab down mine")
    assert "python -m harness recover --profile vlab" in clean


def test_a_run_that_never_keeps_lets_its_lab_die_with_it(
    profile: Profile,
    session: Session,
    asked: list[dict[str, Any]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    session.options.keep = "never"
    with joint.pytest_acceptance_connect(session, profile, tmp_path):
        pass
    assert asked[0]["keep"] is None


@pytest.mark.parametrize("ok", [True, False])
def test_recover_makes_a_kept_lab_free_if_all_is_undone(
    up: vlab.Machine,
    session: Session,
    profile: Profile,
    ok: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kept = registry.update(up, kept=True)
    monkeypatch.setattr(joint, "_open", contextlib.nullcontext)
    (leftover,) = joint.pytest_acceptance_leftovers(session, profile, Path("run"))
    with leftover:
        session.outcome.undo = [UndoResult("run", CHANGE, "undone" if ok else "failed")]
    assert vlab.find() == [kept if not ok else up]


def test_recover_leaves_a_lab_alone_that_is_in_use(
    up: vlab.Machine, session: Session, profile: Profile, said: list[str]
) -> None:
    with vlab.use(up, "a neighbour"):
        assert list(joint.pytest_acceptance_leftovers(session, profile, Path("run"))) == []
    assert "in use by a neighbour" in said[-1]
    assert len(list(joint.pytest_acceptance_leftovers(session, profile, Path("run")))) == 1


def test_recover_without_a_lab_says_that_there_is_nothing(
    profile: Profile,
    session: Session,
    said: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("VLAB_CACHE", str(tmp_path))
    assert list(joint.pytest_acceptance_leftovers(session, profile, Path("run"))) == []
    assert "nothing to recover" in said[0]


def _named(profile: Profile, name: str) -> Profile:
    return profile.model_copy(update={"vlab": profile.vlab.model_copy(update={"name": name})})


@pytest.mark.finding("C9", "a lab in use by another checkout is 'not up', and its holder not named")
def test_a_lab_in_use_is_refused_with_its_holder_however_it_is_met(
    up: vlab.Machine, session: Session, profile: Profile
) -> None:
    named = _named(profile, "mine")
    with vlab.use(up, "a neighbour"):
        with (
            pytest.raises(Refused, match="'mine' is in use by a neighbour") as caught,
            joint.pytest_acceptance_connect(session, named, Path("run")),
        ):
            pass
        assert "python -m harness recover" in (caught.value.hint or "")
        (leftover,) = joint.pytest_acceptance_leftovers(session, named, Path("run"))
        with pytest.raises(Refused, match="'mine' is in use by a neighbour"), leftover:
            pass


def test_a_kept_lab_of_that_name_is_refused(
    up: vlab.Machine, session: Session, profile: Profile
) -> None:
    registry.update(up, kept=True)
    with (
        pytest.raises(Refused, match="'mine' still has on it what a run that kept it has changed"),
        joint.pytest_acceptance_connect(session, _named(profile, "mine"), Path("run")),
    ):
        pass


def test_a_lab_of_other_settings_is_told_as_that(
    up: vlab.Machine, session: Session, profile: Profile
) -> None:
    with (
        pytest.raises(HostUnreachable, match="'mine' is of another version, or has other settings"),
        joint.pytest_acceptance_connect(session, _named(profile, "mine"), Path("run")),
    ):
        pass


@pytest.mark.finding("C10", "a recovery of one lab looks at others")
def test_recover_touches_the_named_lab_alone(
    up: vlab.Machine,
    session: Session,
    profile: Profile,
    said: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    opened: list[str] = []

    def entered_in(lab: vlab.Machine) -> contextlib.nullcontext[None]:
        opened.append(lab.name)
        return contextlib.nullcontext()

    monkeypatch.setattr(joint, "_open", entered_in)
    with emulated(entered("theirs", owner=None)):
        (leftover,) = joint.pytest_acceptance_leftovers(
            session, _named(profile, "mine"), Path("run")
        )
        with leftover:
            assert opened == ["mine"]
        assert not any("theirs" in line for line in said)
        other = _named(profile, "other")
        assert list(joint.pytest_acceptance_leftovers(session, other, Path("run"))) == []
        assert "no lab 'other' is up" in said[-1]


def test_of_a_lab_that_died_under_a_run_nothing_is_left(up: vlab.Machine, session: Session) -> None:
    joint._tell(up, vlab.Ending.LEFT, session)
    assert session.cleanup_hints == []
    assert up.process is not None
    os.kill(up.process.pid, signal.SIGKILL)
    wait_for("it is dead", lambda: not up.alive(), PATIENCE, 0.02)
    session.ways_in = ["into what was in it"]
    joint._tell(up, vlab.Ending.LEFT, session)
    assert session.cleanup_instructions() == [
        f"nothing is kept: the virtual lab has ended, its console: {up.console}"
    ]
