"""``vlab.lease`` and what stands beside it; in a machine's place is a process that sleeps."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

import vlab
from tests.unit.labs import emulated, entered
from tests.unit.mini import ROOT
from vlab import Ending, Settings, face, image, machine, preflight, recipe, registry
from vlab.image import Image
from vlab.registry import Life, Machine

pytestmark = pytest.mark.usefixtures("cache")


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of our own."""
    monkeypatch.setenv("VLAB_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def up(cache: Path) -> Iterator[Machine]:
    """A lab of the default settings that stays."""
    lab = entered("mine", recipe=recipe.digest(), owner=None)
    lab.console.write_text("before\n")
    with emulated(lab) as lab:
        yield lab


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Life]]:
    """What ends each lab that is started for a lease; it is named 'own'."""
    lives: list[Life] = []
    with ExitStack() as stack:

        def start(
            image: Image, settings: Settings, say: object, *, life: Life, console: Path | None
        ) -> Machine:
            lives.append(life)
            return stack.enter_context(emulated(entered("own")))

        monkeypatch.setattr(preflight, "check", lambda settings: None)
        monkeypatch.setattr(image, "ensure", lambda *_: Image(Path("recipe")))
        monkeypatch.setattr(machine, "start", start)
        yield lives


class Told(list[tuple[str, Ending]]):
    """What is told of labs whose leases end."""

    def __call__(self, lab: Machine, ending: Ending) -> None:
        self.append((lab.name, ending))


def taken() -> str:
    """The name of the lab that a lease has got."""
    with vlab.lease(Settings(), who="us") as lab:
        return lab.name


def test_a_lab_that_is_up_is_leased_and_left(up: Machine, tmp_path: Path) -> None:
    told, said = Told(), list[str]()
    console = tmp_path / "evidence" / "lab-console.log"
    with vlab.lease(Settings(), who="us", say=said.append, console=console, ended=told) as lab:
        assert lab == up
        assert vlab.user_of(up) == "us"
        with up.console.open("a") as more:
            more.write("meanwhile\n")
    (line,) = said
    assert "this run uses 'mine', which is up" in line
    assert console.read_text() == "meanwhile\n"
    assert told == [("mine", Ending.LEFT)]
    assert vlab.find() == [up], "it stays"
    assert vlab.user_of(up) is None


def test_a_lab_is_leased_by_its_name_or_not_at_all(up: Machine, started: list[Life]) -> None:
    with (
        pytest.raises(vlab.VlabError, match="no lab 'other' is up"),
        vlab.lease(Settings(), who="us", name="other"),
    ):
        pass
    with vlab.lease(Settings(), who="us", name="mine", fresh=True) as lab:
        assert lab == up
    assert started == []


def test_a_lab_that_somebody_uses_is_not_leased(up: Machine, started: list[Life]) -> None:
    with vlab.use(up, "a neighbour"):
        assert taken() == "own"
    assert taken() == "mine"


@pytest.mark.parametrize("change", [{"kept": True}, {"recipe": "another"}])
def test_a_lab_that_does_not_fit_is_not_leased(
    up: Machine, started: list[Life], change: dict[str, object]
) -> None:
    registry.update(up, **change)
    assert taken() == "own"
    assert vlab.user_of(up) is None


def test_a_lab_that_changes_between_look_and_take_is_not_leased(
    up: Machine, started: list[Life], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "find", lambda say: [up])
    registry.update(up, kept=True)
    assert taken() == "own"
    machine.stop(up)
    assert taken() == "own", "taken down meanwhile"


def test_a_fresh_lab_is_started_for_its_lease_and_ends_with_it(
    up: Machine, started: list[Life]
) -> None:
    told = Told()
    with vlab.lease(Settings(), who="us", fresh=True, ended=told) as lab:
        assert vlab.user_of(lab) == "us"
        assert lab.alive()
    assert not lab.alive()
    assert vlab.find() == [up]
    assert told == [("own", Ending.ENDED)]
    assert started == [Life.BOUND], "nobody can keep it, so it need not outlive us"


@pytest.mark.parametrize("own", [True, False])
@pytest.mark.parametrize("error", [None, RuntimeError("a stage failed")])
def test_a_lab_is_kept_however_its_lease_ends(
    up: Machine, started: list[Life], own: bool, error: Exception | None
) -> None:
    told, wanted = Told(), list[str]()
    with ExitStack() as around:
        if error:
            around.enter_context(pytest.raises(type(error), match=str(error)))
        with vlab.lease(
            Settings(), who="us", fresh=own, keep=lambda: bool(wanted), ended=told
        ) as lab:
            wanted.append("asked when the block ends")
            if error:
                raise error
    (kept,) = [found for found in vlab.find() if found.name == lab.name]
    assert (kept.kept, kept.stays, kept.alive()) == (True, True, True)
    assert told == [(lab.name, Ending.KEPT)]
    assert started == [Life.OWNED] * own
    vlab.cleaned(kept)
    assert [found.kept for found in vlab.find()] == [False] * len(vlab.find())


@pytest.mark.parametrize(("own", "ending"), [(True, Ending.ENDED), (False, Ending.LEFT)])
def test_a_lab_that_has_died_is_not_kept(
    up: Machine, started: list[Life], own: bool, ending: Ending
) -> None:
    told = Told()
    with vlab.lease(Settings(), who="us", fresh=own, keep=lambda: True, ended=told) as lab:
        assert lab.child is not None or lab.process is not None
        machine._end(lab)
    assert told == [(lab.name, ending)]


@pytest.mark.parametrize("error", [vlab.VlabError("the guide is wrong"), KeyboardInterrupt()])
def test_a_lab_whose_lease_ends_with_an_error_leaves_its_console(
    cache: Path, started: list[Life], error: BaseException
) -> None:
    said: list[str] = []
    with ExitStack() as stack:
        stack.enter_context(pytest.raises(type(error)))
        lab = stack.enter_context(vlab.lease(Settings(), who="us", say=said.append))
        lab.console.write_text("Debian\n")
        raise error
    kept = cache / "consoles" / "own.log"
    assert kept.read_text() == "Debian\n"
    assert said == [f"vlab: the lab is ended; its console: {kept}"]
    assert not lab.folder.exists()


def test_a_lab_in_use_is_taken_down_by_force_alone(up: Machine) -> None:
    with vlab.use(up, "a neighbour"):
        with pytest.raises(vlab.InUse, match="in use by a neighbour"):
            vlab.down(up)
        assert up.alive()
        assert vlab.down(up, force=True)
    assert not up.folder.exists()
    assert not vlab.down(up), "it is gone already"
    with pytest.raises(vlab.VlabError, match="taken down meanwhile"), vlab.use(up, "us"):
        pass


def test_what_is_public_is_documented_with_an_example() -> None:
    assert vlab.__all__ == face.__all__
    for name in vlab.__all__:
        assert getattr(vlab, name) is getattr(face, name)
        if name.islower():
            text = getattr(vlab, name).__doc__
            assert "Example::" in text or "for an example" in text, name
    with pytest.raises(AttributeError, match="'vlab' has no attribute 'nonsense'"):
        getattr(vlab, "nonsense")  # noqa: B009


def test_a_part_that_is_a_program_of_its_own_loads_no_more_than_it_needs() -> None:
    look = "import sys, vlab.errors; print(*sorted(n for n in sys.modules if 'vlab' in n))"
    done = subprocess.run([sys.executable, "-c", look], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.split() == ["vlab", "vlab.errors"]
