"""A mini-suite with a stage of five changes that can be killed anywhere within it."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from harness.wait import wait_for
from tests.unit.conftest import Sshd
from tests.unit.mini import CONFTEST, Mini

STEPS = ["file", "change", "tree", "job", "link"]

# A gate says by a file where the run is, and waits to be killed. That of a step's "before" is
# reached when the journal has the change and the host has not; "within" is in the middle of the
# command that makes the change, on the host.
FIVE = r'''
import shlex
import time

from harness.run import job
from harness.run.job import start_job

STEPS = ["file", "change", "tree", "job", "link"]
GATE, AT = os.environ.get("MINI_GATE", ""), os.environ.get("MINI_AT", "")
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
            Path(AT).touch()
            time.sleep(1000)

    @property
    def hang(self):
        there = GATE == f"within {self.step}"
        return f"touch {shlex.quote(AT)}; sleep 1000" if there else ":"

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
        self.host.sh(f'printf ma >"$1"; {self.hang}; printf de >>"$1"', f"{self.data}/made")

    def change(self, journal):
        journal.save_file("five", f"{self.data}/settings")
        self.host.sh(f'printf n >"$1"; {self.hang}; printf ew >>"$1"', f"{self.data}/settings")

    def tree(self, journal):
        journal.record("five", "tree", [["rm", "-rf", "--", f"{self.data}/tree"]])
        script = f'mkdir -p "$1/a b"; echo one >"$1/a b/one"; {self.hang}; ln "$1/a b/one" "$1/two"'
        self.host.sh(script, f"{self.data}/tree")

    def job(self, journal):
        body = "setsid sleep 1000 & exec sleep 1000"
        job._START = job._START.replace("if [ -d", f"{self.hang}\nif [ -d", 1)
        start_job(self.host, "serve", ["sh", "-c", body], journal=journal, stage="five")

    def link(self, journal):
        current = f"{self.data}/current"
        undo = [["rm", "-f", "--", f"{current}.new"], ["ln", "-sfnT", "v1", current]]
        journal.record("five", "link", undo)
        self.host.sh(f'ln -s v2 "$1.new"; {self.hang}; mv -fT "$1.new" "$1"', current)

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
        super().__init__(folder, suite=SUITE, conftest=CONFTEST.partition("@dataclass")[0] + FIVE)
        self.data = self.host / "data dir"
        (self.data / "v1").mkdir(parents=True)
        (self.data / "v2").mkdir()
        (self.data / "current").symlink_to("v1")
        (self.data / "settings").write_bytes(b"\x00\xffold")
        (self.data / "settings").chmod(0o604)
        os.utime(self.data / "settings", (1, 1))
        self.target: dict[str, str] = {}
        self.before = self.print()

    @property
    def environ(self) -> dict[str, str]:
        return super().environ | {"MINI_DATA": str(self.data), **self.target}

    def over(self, sshd: Sshd) -> Lab:
        """The same, its host reached by ssh."""
        end = sshd.endpoint
        self.target = {
            "ACCEPT_TARGET__KIND": "ssh",
            "ACCEPT_TARGET__ADDRESS": f"ssh://{end.user}@{end.host}:{end.port}",
            "ACCEPT_TARGET__IDENTITY": str(end.identity),
            "ACCEPT_TARGET__KNOWN_HOSTS": str(end.known_hosts),
        }
        return self

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
        at = self.host / "at the gate"
        run = self.start("-m", "acceptance", environ={"MINI_GATE": gate, "MINI_AT": str(at)})
        wait_for(f"the run is {gate}", at.exists, 60, 0.02)
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
