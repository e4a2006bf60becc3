"""A mini-suite with a stage of five changes that can be killed anywhere within it."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from harness.wait import wait_for
from tests.sample.five import STEPS
from tests.unit.conftest import Sshd
from tests.unit.mini import PLUGINS, Mini, sample
from tests.unit.patience import PATIENCE


class Lab(Mini):
    """The mini-suite with a folder of things that were on its host before."""

    def __init__(self, folder: Path) -> None:
        plugins = [*PLUGINS, "tests.sample.five"]
        super().__init__(folder, suite=sample("suite_five"), plugins=plugins)
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
        wait_for(f"the run is {gate}", at.exists, PATIENCE, 0.02)
        run.kill()

    def is_clean(self) -> None:
        """The host is as it was, and so is the harness's own folder on it."""
        assert self.print() == self.before
        assert not self.state.exists()


def _print(path: Path) -> tuple[object, ...]:
    status = path.lstat()
    what: object = ""
    if path.is_symlink():
        what = os.readlink(path)
    elif path.is_file():
        what = (hashlib.sha256(path.read_bytes()).hexdigest(), status.st_mtime_ns)
    return str(path), status.st_mode, status.st_uid, status.st_gid, str(what)
