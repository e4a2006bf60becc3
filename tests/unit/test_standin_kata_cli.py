"""kata's stand-in as it is called and as it is installed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from vlab.build import Build
from vlab.standins import kata
from vlab.standins.kata.runtime import cli, state

ROOT = Path(__file__).resolve().parents[2]


# The command line


def test_signals_go_by_number_and_by_name() -> None:
    assert [cli.signal_number(text) for text in ("9", "SIGKILL", "kill")] == [9, 9, 9]
    with pytest.raises(cli.UsageError, match="unknown signal 'SIGNONE'"):
        cli.signal_number("SIGNONE")


def test_a_containers_state_survives_between_commands(tmp_path: Path) -> None:
    made = state.new(str(tmp_path), "c1", "/bundle", {"linux": {"cgroupsPath": "/default/c1"}})
    made.cid = 7
    made.save()
    loaded = state.load(str(tmp_path), "c1")
    assert (loaded.cid, loaded.bundle, loaded.status) == (7, "/bundle", "stopped")
    with pytest.raises(state.StateError, match="container with id exists: c1"):
        state.new(str(tmp_path), "c1", "/bundle", {})
    with pytest.raises(state.StateError, match="container does not exist: c2"):
        state.load(str(tmp_path), "c2")


def test_errors_reach_the_shims_log(tmp_path: Path) -> None:
    log = tmp_path / "log.json"
    code = (
        "import sys; sys.path.insert(0, sys.argv.pop(1));"
        "from vlab.standins.kata.runtime.cli import main; main()"
    )
    command = [sys.executable, "-c", code, str(ROOT), "--root", str(tmp_path), "--log", str(log)]
    done = subprocess.run([*command, "start", "c9"], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    line = json.loads(log.read_text("utf-8"))
    assert line["level"] == "error"
    assert line["msg"] == "container does not exist: c9"
    assert subprocess.run([*command, "delete", "--force", "c9"], check=False).returncode == 0


# Installation


class NativeOnly(Build):
    """A build whose trees cannot be entered."""

    def chroot(self, tree: Path, *argv: str | Path) -> str:
        return ""


def test_what_is_installed_runs_on_its_own(tmp_path: Path) -> None:
    build = NativeOnly(tmp_path, tmp_path / "log", lambda text: None)
    shim = build.root / "usr/bin/containerd-shim-runc-v2"
    for folder in (shim.parent, build.root / "etc/modules-load.d", build.guest):
        folder.mkdir(parents=True)
    shim.write_bytes(b"")
    kata.install(build)
    kata.install(build)  # a second time changes nothing
    libexec = build.root / "usr/libexec/kata-standin"
    code = "import sys; sys.path.insert(0, sys.argv[1]); import kata_standin.{}"
    for folder, module in (
        (libexec, "runtime.supervisor"),
        (libexec, "runtime.kata_runtime"),
        (build.guest / "usr/lib/kata-standin", "agent.main"),
    ):
        command = [sys.executable, "-IS", "-c", code.format(module), str(folder)]
        subprocess.run(command, check=True)
    for path in (libexec / "runc", libexec / "supervisor", build.guest / "usr/bin/kata-agent"):
        assert os.access(path, os.X_OK)
    assert os.path.samefile(shim, libexec / "shim/containerd-shim-kata-v2")
    assert (build.root / "etc/kata-containers/configuration.toml").is_file()
