"""kill -9 at every point of a stage, and in its undo: `pytest --recover` puts the host back."""

from __future__ import annotations

import json
import uuid
from functools import partial
from pathlib import Path

import pytest

from harness import exits
from harness.wait import wait_for
from tests.sample.five import STEPS
from tests.unit.conftest import Sshd
from tests.unit.five import Lab
from tests.unit.patience import PATIENCE


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    return Lab(tmp_path / "a lab")


def _recovers(lab: Lab, changes: int) -> None:
    status, out = lab.pytest("--recover")
    assert status == 0, out
    assert f"{changes} changes taken back, 0 could not be." in out
    lab.is_clean()


@pytest.mark.parametrize("step", STEPS)
def test_kill_9_before_a_change_is_made(lab: Lab, step: str) -> None:
    lab.killed(f"before {step}")
    made = STEPS.index(step)
    assert lab.stands() == STEPS[:made]
    _recovers(lab, made + 1)


@pytest.mark.parametrize("step", STEPS)
def test_kill_9_after_a_change_was_made(lab: Lab, step: str) -> None:
    lab.killed(f"after {step}")
    made = STEPS.index(step) + 1
    assert lab.stands() == STEPS[:made]
    _recovers(lab, made)


@pytest.mark.parametrize("step", STEPS)
def test_kill_9_within_the_command_that_makes_a_change(lab: Lab, step: str) -> None:
    """The command lives on: it has to end before what it has made is taken away."""
    lab.killed(f"within {step}")
    assert lab.running()
    half = [step] if step in ("file", "tree") else []  # of these something stands already
    assert lab.stands() == [*STEPS[: STEPS.index(step)], *half]
    _recovers(lab, STEPS.index(step) + 1)


def test_kill_9_over_ssh(lab: Lab, sshd: Sshd) -> None:
    lab.over(sshd).killed("within tree")
    assert lab.running()
    _recovers(lab, 3)


def test_kill_9_while_a_line_of_the_journal_is_written(lab: Lab) -> None:
    lab.killed("before job")
    journal = lab.journal()
    journal.write_bytes(journal.read_bytes()[:-20])
    _recovers(lab, 3)


def test_a_run_after_kill_9_says_what_to_do(lab: Lab) -> None:
    """The lock is of a dead process, then, as after a power cut, of a dead boot."""
    lab.killed("after file")
    status, out = lab.pytest("-m", "acceptance")
    assert status == exits.REFUSED
    assert "is in use by" in out
    assert f"run {lab.journal().stem}" in out
    assert "that process is gone: python -m harness recover" in out
    lock = lab.state / "journal" / "host.lock"
    owner = json.loads(lock.read_text())
    lock.write_text(json.dumps(owner | {"boot": str(uuid.uuid4())}) + "\n")
    status, out = lab.pytest("-m", "acceptance")
    assert status == exits.REFUSED
    assert "still has what run" in out
    assert "[five] file" in out
    assert not lock.exists()
    _recovers(lab, 1)


def test_kill_9_in_the_undo_and_in_the_recovery(lab: Lab) -> None:
    tries = lab.host / "data dir.tries"
    stuck = 'echo >>"$1.tries"; [ $(wc -l <"$1.tries") -gt 2 ] || exec sleep 1000'

    tries.touch()
    for count, args in enumerate([["-m", "acceptance"], ["--recover"]], 1):
        run = lab.start(*args, environ={"MINI_STUCK": stuck})
        begun = partial(lambda n: len(tries.read_text()) == n, count)
        wait_for("the undo has come to what hangs", begun, PATIENCE, 0.02)
        run.kill()
        assert lab.stands() == ["file", "change", "tree"]
    _recovers(lab, 4)


def test_an_undo_that_fails_is_told_and_tried_again(lab: Lab) -> None:
    stuck = '[ -e "$1.mended" ] || { echo "why it fails" >&2; exit 5; }'
    status, out = lab.pytest("-m", "acceptance", environ={"MINI_STUCK": stuck})
    assert status == exits.RESIDUE
    assert "1 passed" in out
    assert "host: NOT put back: 5 changes undone, 1 could not be" in out
    assert "LEFT ON THE HOST [five] stuck: failed" in out
    assert "to clean up: python -m harness recover" in out
    assert lab.print() == lab.before
    status, out = lab.pytest("-m", "acceptance")
    assert status == exits.REFUSED
    assert "still has what run" in out
    status, out = lab.pytest("--recover")
    assert status == exits.RESIDUE
    assert "why it fails" in out
    assert "0 changes taken back, 1 could not be." in out
    (lab.host / "data dir.mended").touch()
    _recovers(lab, 1)


def test_a_journal_of_another_version_stops_everything(lab: Lab) -> None:
    lab.killed("after link")
    journal = lab.journal()
    mine = journal.read_bytes()
    journal.write_bytes(mine.replace(b'{"journal": 1,', b'{"journal": 99,') + b"torn")
    theirs, left = journal.read_bytes(), lab.print()
    for args in (["--recover"], ["-m", "acceptance"]):
        status, out = lab.pytest(*args)
        assert status == exits.REFUSED
        assert "has version 99; this harness reads version 1" in out
        assert "recover with the version of the harness that wrote it" in out
        assert "Traceback" not in out
        assert lab.print() == left
        assert journal.read_bytes() == theirs
    journal.write_bytes(mine)
    _recovers(lab, 5)
