"""A mini-suite with stages that change files, run by the plugin as a real suite is."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

QUICK = ["-p", "no:cacheprovider", "-p", "no:hypothesispytest", "-p", "no:anyio"]
ROOT = Path(__file__).resolve().parents[2]

CONFTEST = '''
import os
from pathlib import Path

import pytest

from harness import plugin
from harness.host import open_local
from harness.profile import BaseProfile
from harness.stage import Stage

pytest_plugins = ["harness.plugin"]


def connect(profile, run_dir):
    return open_local(become=False)


def pytest_configure(config):
    plugin.configure(config, BaseProfile, connect, state_dir=os.environ["MINI_STATE"])


class Make(Stage):
    """Makes a file, its removal in the journal first."""

    def __init__(self, run, name):
        self.run, self.name = run, name
        self.path = Path(os.environ["MINI_STATE"]).parent / f"made-{name}"

    def provision(self):
        self.run.journal.record(self.name, f"make {self.path}", [["rm", "--", str(self.path)]],
                                when=["test", "-e", str(self.path)])
        self.run.host.run("touch", str(self.path))
        self.during()

    def during(self):
        """What happens after the change."""

    def verify(self):
        assert self.run.host.exists(str(self.path))
        return self.path


@pytest.fixture(scope="session")
def one(run):
    """The first stage."""
    return run.stage(Make(run, "one"))


@pytest.fixture(scope="session")
def two(run, one):
    """The second stage."""
    class Two(Make):
        def during(self):
            TWO
    return run.stage(Two(run, "two"))


@pytest.fixture(scope="session")
def three(run, two):
    """The third stage."""
    return run.stage(Make(run, "three"))
'''

SUITE = """
import pytest

pytestmark = pytest.mark.acceptance


@pytest.mark.clause("a.one")
def test_one(one):
    assert one.exists()


def test_two(two):
    assert two.exists()


def test_two_again(two):
    assert two.exists()


def test_three(three):
    assert three.exists()


def test_free(one):
    assert one.exists()
"""

INI = """
[pytest]
strict = true
markers =
    acceptance: on a host
    clause(id): of the guide
"""

PROFILE = """
name = "mini"
secrets = ["hush-hush", "MINI_SECRET"]
[target]
kind = "local"
"""


class Mini:
    """The suite in a folder of its own; `two` is the body of the second stage's change."""

    def __init__(self, folder: Path, two: str = "pass", suite: str = SUITE) -> None:
        self.folder = folder
        self.state = folder / "host" / "state"
        self.host = folder / "host"
        self.host.mkdir(parents=True)
        (folder / "profiles").mkdir()
        (folder / "profiles" / "vlab.toml").write_text(PROFILE)
        (folder / "conftest.py").write_text(CONFTEST.replace("TWO", two))
        (folder / "test_mini.py").write_text(suite)
        (folder / "pytest.ini").write_text(INI)

    @property
    def environ(self) -> dict[str, str]:
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("ACCEPT_", "PYTEST_"))}
        return clean | {
            "PYTHONPATH": str(ROOT),
            "MINI_STATE": str(self.state),
            "MINI_SECRET": "s3cr3t-value",
        }

    def start(
        self, *args: str, local: bool = True, environ: Mapping[str, str] | None = None
    ) -> subprocess.Popen[str]:
        allow = ["--allow-local"] if local else []
        return subprocess.Popen(
            [sys.executable, "-m", "pytest", *QUICK, "-rs", *allow, *args],
            cwd=self.folder,
            env=self.environ | dict(environ or {}),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def pytest(
        self, *args: str, local: bool = True, environ: Mapping[str, str] | None = None
    ) -> tuple[int, str]:
        """Exit status and output."""
        process = self.start(*args, local=local, environ=environ)
        out, _ = process.communicate(timeout=100)
        return process.returncode, out

    @property
    def last(self) -> Path:
        return self.folder / "reports" / "runs" / "last"

    def record(self) -> list[dict[str, Any]]:
        """The last run's events."""
        lines = (self.last / "record.jsonl").read_text().splitlines()
        return [json.loads(line) for line in lines]

    def made(self) -> list[str]:
        """What the stages left on the host."""
        return sorted(path.name for path in self.host.glob("made-*"))

    def journals(self) -> list[str]:
        return sorted(path.name for path in (self.state / "journal").glob("*.jsonl"))
