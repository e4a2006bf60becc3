"""A mini-suite with stages that change files, run by the plugin as a real suite is."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any
from unittest import mock

import jsonschema
import pytest

from harness.__main__ import main
from harness.undo.lock import _start_time
from harness.wait import wait_for
from tests.sample import during
from tests.unit.patience import PATIENCE

if TYPE_CHECKING:
    from tests.sample.stages import Make

# Plugins that are installed with libraries of ours and take time to load.
QUICK = [
    *("-p", "no:cacheprovider", "-p", "no:hypothesispytest"),
    *("-p", "no:anyio", "-p", "no:benchmark"),
]
ROOT = Path(__file__).resolve().parents[2]
SCHEMA = json.loads((ROOT / "reports" / "record.schema.json").read_text())
EVENT = jsonschema.Draft202012Validator(SCHEMA)

SCHEMA_PLUGIN, HOST_PLUGIN = "tests.sample.schema", "tests.sample.host"
PLUGINS = ["harness.plugin.plugin", SCHEMA_PLUGIN, HOST_PLUGIN, "tests.sample.stages"]
REPORTS = "reports.plugin"
# For a conftest that says more.
CONFTEST = f"""
from pathlib import Path

from tests.sample.stages import Make

pytest_plugins = {PLUGINS}
"""


def sample(name: str) -> str:
    """The text of a suite in tests/sample."""
    return (ROOT / "tests" / "sample" / f"{name}.py").read_text("utf-8")


SUITE = sample("suite_mini")
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


# Each run is a process of its own, forked from one that has done the imports and more: that takes
# longer than the run.
_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(["tests.unit.mini", "tests.unit.warm"])


Program = Callable[[Sequence[str]], int]  # what is run, with its arguments


def _pytest(args: Sequence[str]) -> int:
    return int(pytest.main([*args]))


def _module_pytest(args: Sequence[str]) -> int:
    sys.path.insert(0, os.getcwd())  # as `python -m` does
    return _pytest([*args, *QUICK])


def _harness(args: Sequence[str]) -> int:
    sys.path.insert(0, os.getcwd())  # as `python -m` does
    return main(args)


def _main(
    program: Program, folder: Path, environ: dict[str, str], args: Sequence[str], out: Connection
) -> None:
    os.setsid()
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # ignored where the tests were started by nohup
    for stream in (1, 2):
        os.dup2(out.fileno(), stream)
    out.close()
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environ)
    sys.exit(program(args))


class Running:
    """A process that runs pytest, or another program; it leads a process group."""

    def __init__(
        self, program: Program, folder: Path, environ: dict[str, str], args: Sequence[str]
    ) -> None:
        reader, writer = _FORKS.Pipe(duplex=False)
        given = (program, folder, environ, args, writer)
        self._process = _FORKS.Process(target=_main, args=given, daemon=True)
        with mock.patch.dict(os.environ, PYTHONPATH=str(ROOT)):  # for the server's own imports
            self._process.start()
        writer.close()
        self.stdout = open(os.dup(reader.fileno()), encoding="utf-8")  # noqa: SIM115
        reader.close()
        assert self._process.pid is not None
        self.pid = self._process.pid

    def send_signal(self, signum: int) -> None:
        os.kill(self.pid, signum)

    def kill(self) -> None:
        """SIGKILL to the whole process group; returns when it is dead."""
        os.killpg(self.pid, signal.SIGKILL)
        assert self.finish()[0] == -signal.SIGKILL

    def until(self, text: str) -> None:
        """Read its output until a line says `text`; an error if it ends before."""
        seen = []
        for line in self.stdout:
            seen.append(line)
            if text in line:
                return
        raise AssertionError(f"it ended without saying '{text}':\n{''.join(seen)}")

    def finish(self) -> tuple[int, str]:
        """Exit status, and the output that has not been read yet."""
        with self.stdout:
            out = self.stdout.read()
        self._process.join(PATIENCE)
        assert self._process.exitcode is not None, "it does not end"
        return self._process.exitcode, out


def pytest_in(
    folder: Path, *words: str, environ: Mapping[str, str] = MappingProxyType({})
) -> tuple[int, str]:
    """Exit status and output of `python -m pytest` there, with no plugins but the project's own."""
    plugins = {
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        "PYTEST_PLUGINS": "pytest_timeout,pytest_order.plugin",
    }
    return Running(_module_pytest, folder, {**os.environ, **plugins, **environ}, words).finish()


class Mini:
    """A suite in a folder of its own; `two` is what the second stage does after its change."""

    def __init__(
        self,
        folder: Path,
        two: Callable[[Make], None] = during.nothing,
        suite: str = SUITE,
        plugins: Sequence[str] = PLUGINS,
        conftest: str = "",
    ) -> None:
        self.folder, self.two = folder, two.__name__
        self.state = folder / "host" / "state"
        self.host = folder / "host"
        self.host.mkdir(parents=True)
        (folder / "profiles").mkdir()
        (folder / "profiles" / "vlab.toml").write_text(PROFILE)
        (folder / "conftest.py").write_text(conftest or f"pytest_plugins = {[*plugins]}\n")
        (folder / "test_mini.py").write_text(suite)
        (folder / "pytest.ini").write_text(INI)

    @property
    def environ(self) -> dict[str, str]:
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("ACCEPT_", "PYTEST_"))}
        return clean | {
            "PYTHONPATH": str(ROOT),
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",  # a third of the time of a run, otherwise
            "PYTEST_PLUGINS": "pytest_timeout",
            "MINI_STATE": str(self.state),
            "MINI_TWO": self.two,
            "MINI_SECRET": "s3cr3t-value",
        }

    def start(
        self, *args: str, local: bool = True, environ: Mapping[str, str] | None = None
    ) -> Running:
        allow = ["--allow-local"] if local else []
        words = [*QUICK, "-rs", *allow, *args]
        return Running(_pytest, self.folder, self.environ | dict(environ or {}), words)

    def pytest(
        self, *args: str, local: bool = True, environ: Mapping[str, str] | None = None
    ) -> tuple[int, str]:
        """Exit status and output."""
        return self.start(*args, local=local, environ=environ).finish()

    def harness(self, *args: str, environ: Mapping[str, str] | None = None) -> tuple[int, str]:
        """Exit status and output of `python -m harness`."""
        given = self.environ | dict(environ or {})
        return Running(_harness, self.folder, given, args).finish()

    @property
    def last(self) -> Path:
        return self.folder / "reports" / "runs" / "last"

    def record(self) -> list[dict[str, Any]]:
        """The last run's events; each keeps to the schema."""
        lines = (self.last / "record.jsonl").read_text().splitlines()
        events = [json.loads(line) for line in lines]
        for event in events:
            EVENT.validate(event)
        return events

    def made(self) -> list[str]:
        """What the stages left on the host."""
        return sorted(path.name for path in self.host.glob("made-*"))

    def journals(self) -> list[str]:
        return sorted(path.name for path in (self.state / "journal").glob("*.jsonl"))


def gone(pid_file: Path) -> bool:
    """The process that wrote its id there dies soon, be it that nobody reaps it; else an error."""
    pid = int(pid_file.read_text())
    wait_for(f"process {pid} is dead", lambda: _start_time(pid) == -1, PATIENCE, 0.02)
    return True
