"""A lab by its command line: brought up, looked into, crashed, and told what became of it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.vlab.acceptance import ROOT, left_running
from vlab.machine import machines_root

pytestmark = pytest.mark.timeout(900)


def vlab(*words: str) -> subprocess.CompletedProcess[str]:
    """``python -m vlab WORDS``, as from a terminal."""
    return subprocess.run(
        [sys.executable, "-m", "vlab", *words],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=600,
    )


def test_a_lab_that_panics_is_named_with_its_console_and_leaves_nothing() -> None:
    name = f"lab-by-command-{os.getpid()}"
    up = vlab("up", "--name", name, "--gpus", "2")
    assert up.returncode == 0, up.stderr
    gpus = vlab("ssh", name, "--", "lspci", "-n", "-d", "1234:11e8")
    assert len(gpus.stdout.splitlines()) == 2, gpus.stderr
    assert "Linux version" in vlab("ssh", name, "--", "cat /proc/version | head -n 1").stdout
    crash = vlab("ssh", name, "--", "echo c > /proc/sysrq-trigger")
    assert crash.returncode == 255, "ssh's own status: the connection broke"
    mine = [line for line in left_running(machines_root()) if name in line]
    assert mine == [], "the panic ends the emulator"
    status = vlab("status")
    assert status.returncode == 0
    told = re.search(rf"'{name}' is swept away: .*; console: (.+)", status.stderr)
    assert told, status.stderr
    assert "kernel panic: Kernel panic - not syncing: sysrq triggered crash" in told[0]
    assert "sysrq triggered crash" in Path(told[1]).read_text(errors="replace")
    assert name not in status.stdout
    assert not (machines_root() / name).exists()
