"""A target that is the guest itself: what is planned, and what is not assessed."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.mini import ROOT, pytest_in


def test_only_the_guest_and_the_model_have_stages() -> None:
    status, said = pytest_in(ROOT, "--plan", "-m", "guest or model", "--profile", "in-guest")
    assert status == 0, said
    assert "Plan for profile 'in-guest' (target 'local')" in said
    assert ", 2 stages." in said
    assert "1. guest (changes nothing)" in said
    assert "2. model (undone at the end)" in said


def test_what_is_outside_is_not_assessed() -> None:
    words = ["--setup-plan", "-rs", "-m", "acceptance and not local", "--profile", "in-guest"]
    status, said = pytest_in(ROOT, *words, "--allow-local")
    assert status == 0, said
    assert "not assessed: the target is the guest itself" in said
    made = {line.split()[2] for line in said.splitlines() if line.startswith("SETUP ")}
    assert "guest" in made
    assert "model" in made
    assert not made & {"container", "network", "gpu", "image", "rootfs", "platform"}


def test_a_virtual_lab_is_no_guest(tmp_path: Path) -> None:
    path = tmp_path / "wrong.toml"
    path.write_text(f'extends = "{ROOT}/profiles/vlab.toml"\ncontainer.access = "direct"\n')
    status, said = pytest_in(ROOT, "--plan", "-m", "guest", f"--profile={path}")
    assert status == pytest.ExitCode.USAGE_ERROR
    assert 'container.access: expected target.kind "local" or "ssh"' in said
