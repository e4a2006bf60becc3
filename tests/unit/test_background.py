"""Early stages: at work side by side, and ended from outside, with all that they have started."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from harness.wait import wait_for
from tests.unit.mini import CONFTEST, Mini, gone
from tests.unit.patience import PATIENCE

EARLY = '''
import subprocess

import pytest
from conftest import Make
from harness.run.stage import stage
from tests.unit.patience import PATIENCE

pytestmark = pytest.mark.acceptance


class Left(Make):
    def during(self):
        LEFT


class Right(Make):
    def during(self):
        RIGHT


@stage(budget=1000, early=True)
def left(run, one):
    """An early stage."""
    return run.stage(Left(run, "left"))


@stage(budget=1000, early=True)
def right(run, one):
    """Another one."""
    return run.stage(Right(run, "right"))


@stage(budget=1000, early=True)
def after(run, right):
    """One that needs an early one."""
    return run.stage(Make(run, "after"))


@stage(budget=1000, early=True)
def unasked(run, one):
    """Nobody that is selected asks for it."""
    return run.stage(Make(run, "unasked"))


def test_first(one):
    FIRST


def test_left(left):
    assert left.exists()


def test_right(right):
    assert right.exists()


def test_after(after):
    assert after.exists()


def test_other(unasked):
    assert unasked.exists()
'''
MEET = (
    "self.run.host.sh('until [ -e \"$1\" ]; do sleep 0.05; done',"
    " str(self.path.with_name('made-{}')), timeout=500)"
)
SLEEP = "self.run.host.sh('echo $$ >\"$1\"; sleep 600; touch \"$1.late\"', f'{self.path}.pid')"
ASLEEP = "subprocess.run(['sh', '-c', 'until [ -s host/made-left.pid ]; do sleep 0.05; done'])"


def suite(left: str = "pass", right: str = "pass", first: str = "pass") -> str:
    return EARLY.replace("LEFT", left).replace("RIGHT", right).replace("FIRST", first)


def stages(mini: Mini, state: str) -> set[str]:
    """The stages that came to this state."""
    return {e["name"] for e in mini.record() if e["kind"] == "stage" and e["state"] == state}


def test_two_early_stages_meet(tmp_path: Path) -> None:
    """Each waits for what the other makes: one after the other, neither could end."""
    mini = Mini(tmp_path / "m", suite=suite(MEET.format("right"), MEET.format("left")))
    status, out = mini.pytest("-m", "acceptance", "-k", "not other")
    assert status == 0, out
    assert "4 passed, 1 deselected" in out
    assert stages(mini, "ok") == {"one", "left", "right", "after"}
    touched = {e["argv"][1]: e["stage"] for e in mini.record() if e.get("argv", [""])[0] == "touch"}
    assert {Path(path).name: stage for path, stage in touched.items()} == {
        f"made-{name}": name for name in ("one", "left", "right", "after")
    }
    assert "[left] ok (provisioned)" in out
    assert mini.made() == []


def test_a_failure_in_the_background_is_one_error(tmp_path: Path) -> None:
    broken = 'from harness.errors import LabError; raise LabError("No card.")'
    mini = Mini(tmp_path / "m", suite=suite(right=broken))
    status, out = mini.pytest("-m", "acceptance")
    assert status == 1
    assert "3 passed, 1 skipped, 1 error in" in out
    assert out.count("Stage 'right' failed: No card.") == 1
    skipped = [e for e in mini.record() if e["kind"] == "test" and e["outcome"] == "skipped"]
    assert [(e["nodeid"], e["message"]) for e in skipped] == [
        ("test_mini.py::test_after", 'stage "right" failed: No card.')
    ]
    assert mini.made() == []


@pytest.mark.parametrize(
    ("signum", "first"),
    [
        pytest.param(signal.SIGTERM, "pass", id="SIGTERM while it is waited for"),
        pytest.param(signal.SIGINT, f"{ASLEEP}; subprocess.run(['sleep', '600'])", id="Ctrl-C"),
    ],
)
def test_a_signal_ends_what_is_in_the_background(
    tmp_path: Path, signum: signal.Signals, first: str
) -> None:
    mini = Mini(tmp_path / "m", suite=suite(SLEEP, first=first), conftest=CONFTEST + WAITED)
    process = mini.start("-m", "acceptance", "-k", "first or left")
    pid_file = mini.host / "made-left.pid"
    wait_for("the stage sleeps", lambda: pid_file.exists() and pid_file.read_text(), PATIENCE, 0.05)
    if first == "pass":
        wait_for("it is waited for", (tmp_path / "m" / "waits").exists, PATIENCE, 0.05)
    process.send_signal(signum)
    status, out = process.finish()
    assert status == 2, out
    assert gone(pid_file)
    assert "undo: 2 changes taken back, 0 could not be" in out
    assert mini.made() == ["made-left.pid"]
    assert mini.journals() == []
    assert stages(mini, "interrupted") == {"left"}
    events = mini.record()
    undo = next(n for n, event in enumerate(events) if event["kind"] == "undo")
    assert {event.get("stage") for event in events[undo:] if event["kind"] == "command"} == {None}
    assert [event for event in events[undo:] if event["kind"] == "stage"] == []


# `ring` has the alarm of the main thread ring as soon as that waits for the background.
WAITED = """

import signal
import threading
from harness.run import background

WAITS, wait = threading.Event(), background.wait


def waited(*args):
    WAITS.set()
    Path(__file__).with_name("waits").touch()
    return wait(*args)


def ring():
    WAITS.wait()
    signal.pthread_kill(threading.main_thread().ident, signal.SIGALRM)


background.wait = waited
"""
RING = (
    "import conftest; self.run.host.sh('echo $$ >\"$1\"; echo asleep; exec sleep 600',"
    " f'{self.path}.pid', on_line=lambda _: conftest.ring())"
)


def test_a_timeout_of_the_test_that_waits_is_the_stages_failure(tmp_path: Path) -> None:
    waits = suite(RING).replace("def test_left(", "@pytest.mark.timeout(1000)\ndef test_left(")
    mini = Mini(tmp_path / "m", suite=waits, conftest=CONFTEST + WAITED)
    status, out = mini.pytest("-m", "acceptance", "-k", "first or left")
    assert status == 1, out
    assert "1 passed, 3 deselected, 1 error in" in out
    assert "Stage 'left' failed: Time is up for test 'test_left': 1000 s." in out
    assert "at work: [left] sh -euc" in out
    assert stages(mini, "failed") == {"left"}
    assert gone(mini.host / "made-left.pid")
    assert mini.made() == ["made-left.pid"]


def test_with_provision_never_nothing_is_started(tmp_path: Path) -> None:
    """A stage is looked at when its turn comes: here the first is enough to end it."""
    mini = Mini(tmp_path / "m", suite=suite())
    (mini.host / "made-one").touch()
    status, _ = mini.pytest("-m", "acceptance", "-x", "--provision", "never")
    assert status == 1
    assert stages(mini, "started") == {"one", "left"}
