"""kill -9 at every point of a stage, and in its undo: `pytest --recover` puts the host back."""

from __future__ import annotations

import hashlib
import json
import os
import uuid
from functools import partial
from pathlib import Path

import pytest

from harness import exits
from harness.wait import wait_for
from tests.unit.mini import CONFTEST, Mini

STEPS = ["file", "change", "tree", "job", "link"]

# A gate says where it is and waits to be killed. That of a step's "before" is reached when the
# journal has the change and the host has not.
FIVE = r'''
import time

from harness.job import start_job

STEPS = ["file", "change", "tree", "job", "link"]
GATE = os.environ.get("MINI_GATE", "")
STUCK = os.environ.get("MINI_STUCK", "")  # a script that stands for the undo of a sixth change


class Five(Stage):
    """Changes of five kinds, one after another."""

    name = "five"

    def __init__(self, run):
        self.run, self.host = run, run.host
        self.data = os.environ["MINI_DATA"]
        self.step = ""
        self.record, run.journal.record = run.journal.record, self.recorded

    def gate(self, place):
        if f"{place} {self.step}" == GATE:
            self.run.progress(f"at the gate: {GATE}")
            time.sleep(1000)

    def recorded(self, *args, **options):
        self.record(*args, **options)
        self.gate("before")

    def provision(self):
        for self.step in STEPS:
            getattr(self, self.step)(self.run.journal)
            self.gate("after")
            if self.step == "tree" and STUCK:
                undo = [["sh", "-c", STUCK, "sh", self.data]]
                self.run.journal.record("five", "stuck", undo)

    def file(self, journal):
        journal.record("five", "file", [["rm", "-f", "--", f"{self.data}/made"]])
        self.host.write(f"{self.data}/made", "made")

    def change(self, journal):
        journal.save_file("five", f"{self.data}/settings")
        self.host.write(f"{self.data}/settings", "new")

    def tree(self, journal):
        journal.record("five", "tree", [["rm", "-rf", "--", f"{self.data}/tree"]])
        script = 'mkdir -p "$1/a b"; echo one >"$1/a b/one"; $2; ln "$1/a b/one" "$1/two"'
        hang = "echo at the gate: within tree; sleep 1000" if GATE == "within tree" else ":"
        script = script.replace("$2", hang)
        self.host.sh(script, f"{self.data}/tree", on_line=self.run.progress)

    def job(self, journal):
        body = "setsid sleep 1000 & exec sleep 1000"
        start_job(self.host, "serve", ["sh", "-c", body], journal=journal, stage="five")

    def link(self, journal):
        undo = [["ln", "-sfnT", "v1", f"{self.data}/current"]]
        journal.record("five", "link", undo)
        script = 'ln -s v2 "$1.new"; mv -fT "$1.new" "$1"'
        self.host.sh(script, f"{self.data}/current")

    def verify(self):
        return self.data


@pytest.fixture(scope="session")
def five(run):
    """The stage."""
    return run.stage(Five(run))
'''

SUITE = """
import pytest


@pytest.mark.acceptance
def test_five(five):
    assert five
"""


class Lab(Mini):
    """The mini-suite with a folder of things that were on its host before."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, suite=SUITE, conftest=CONFTEST.partition("class Make")[0] + FIVE)
        self.data = self.host / "data dir"
        (self.data / "v1").mkdir(parents=True)
        (self.data / "v2").mkdir()
        (self.data / "current").symlink_to("v1")
        (self.data / "settings").write_bytes(b"\x00\xffold")
        (self.data / "settings").chmod(0o604)
        os.utime(self.data / "settings", (1, 1))
        self.before = self.print()

    @property
    def environ(self) -> dict[str, str]:
        return super().environ | {"MINI_DATA": str(self.data)}

    def print(self) -> list[tuple[object, ...]]:
        """Everything about the host that a run could change and has to give back."""
        paths = [*self.data.rglob("*"), self.data]
        return [*sorted(map(_print, paths)), *((pid,) for pid in self.running())]

    def running(self) -> list[int]:
        """What was started on this host and still runs; on this very machine that is."""
        found = []
        for path in Path("/proc").glob("[0-9]*/environ"):
            try:
                environ = path.read_bytes()
            except OSError:  # gone, or somebody else's
                continue
            if any(mark.encode() in environ for mark in (str(self.state), *self.runs())):
                found.append(int(path.parent.name))
        return found

    def runs(self) -> list[str]:
        return [path.name for path in (self.folder / "reports" / "runs").glob("2*")]

    def stands(self) -> list[str]:
        """The steps whose change is there."""
        there = {
            "file": (self.data / "made").exists(),
            "change": (self.data / "settings").read_bytes() == b"new",
            "tree": (self.data / "tree").exists(),
            "job": any((self.state / "jobs").glob("*/up")) and len(self.running()) > 1,
            "link": os.readlink(self.data / "current") == "v2",
        }
        return [step for step in STEPS if there[step]]

    def journal(self) -> Path:
        (path,) = (self.state / "journal").glob("*.jsonl")
        return path

    def killed(self, gate: str) -> None:
        """Run, and kill -9 the whole process group when the run says that it is there."""
        run = self.start("-m", "acceptance", environ={"MINI_GATE": gate})
        run.until(f"at the gate: {gate}")
        run.kill()

    def is_clean(self) -> None:
        """The host is as it was, and so is the harness's own folder on it."""
        assert self.print() == self.before
        assert os.listdir(self.state / "journal") == ["host.lock.guard"]
        assert [*(self.state / "jobs").glob("*")] == []


def _print(path: Path) -> tuple[object, ...]:
    status = path.lstat()
    what: object = ""
    if path.is_symlink():
        what = os.readlink(path)
    elif path.is_file():
        what = (hashlib.sha256(path.read_bytes()).hexdigest(), status.st_mtime_ns)
    return str(path), status.st_mode, status.st_uid, status.st_gid, str(what)


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


def test_kill_9_while_a_command_runs_on_the_host(lab: Lab) -> None:
    """The command lives on: it has to end before what it has made is taken away."""
    lab.killed("within tree")
    assert lab.running()
    assert not (lab.data / "tree" / "two").exists()
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
    assert "that process is gone: pytest --recover" in out
    lock = lab.state / "journal" / "host.lock"
    holder = json.loads(lock.read_text())
    lock.write_text(json.dumps(holder | {"boot": str(uuid.uuid4())}) + "\n")
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
        wait_for("the undo has come to what hangs", begun, 30, 0.02)
        run.kill()
        assert lab.stands() == ["file", "change", "tree"]
    _recovers(lab, 4)


def test_an_undo_that_fails_is_told_and_tried_again(lab: Lab) -> None:
    stuck = '[ -e "$1.mended" ] || { echo "why it fails" >&2; exit 5; }'
    status, out = lab.pytest("-m", "acceptance", environ={"MINI_STUCK": stuck})
    assert status == exits.RESIDUE
    assert "1 passed" in out
    assert "undo: 5 changes taken back, 1 could not be" in out
    assert "LEFT ON THE HOST [five] stuck: failed" in out
    assert "to clean up: pytest --recover" in out
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
