"""A target that is the guest itself: what is planned, and what is not assessed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.mini import QUICK, ROOT
from tests.unit.patience import PATIENCE


def pytest_of(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pytest", *words, *QUICK],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )


def test_only_the_guest_and_the_model_have_stages() -> None:
    done = pytest_of("--plan", "-m", "guest or model", "--profile", "in-guest")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Plan for profile 'in-guest' (target 'local')" in done.stdout
    assert ", 2 stages." in done.stdout
    assert "1. guest (changes nothing)" in done.stdout
    assert "2. model (undone at the end)" in done.stdout


def test_what_is_outside_is_not_assessed() -> None:
    words = ["--setup-plan", "-rs", "-m", "acceptance and not local", "--profile", "in-guest"]
    done = pytest_of(*words, "--allow-local")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "not assessed: the target is the guest itself" in done.stdout
    made = {line.split()[2] for line in done.stdout.splitlines() if line.startswith("SETUP ")}
    assert "guest" in made
    assert "model" in made
    assert not made & {"container", "network", "gpu", "image", "rootfs", "platform"}


def test_a_virtual_lab_is_no_guest(tmp_path: Path) -> None:
    path = tmp_path / "wrong.toml"
    path.write_text(f'extends = "{ROOT}/profiles/vlab.toml"\ncontainer.access = "direct"\n')
    done = pytest_of("--plan", "-m", "guest", f"--profile={path}")
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert 'container.access: expected target.kind "local" or "ssh"' in done.stderr
