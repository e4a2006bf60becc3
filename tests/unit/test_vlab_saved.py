"""Which saved state a lab goes on from, and which are deleted; that it does is for tests/vlab."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from vlab import hold, saved
from vlab.image import Image
from vlab.qemu import Settings

HERE = saved.BOOT_ID.read_text("ascii").strip()
IMAGE = Image(Path("/cache/0123456789abcdef"))


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of our own, in which no setting of the computer's counts."""
    monkeypatch.setenv("VLAB_CACHE", str(tmp_path))
    monkeypatch.delenv("VLAB_BOOT", raising=False)
    return tmp_path


def state(folder: Path, age: int = 0, **more: Any) -> Path:
    """A state's folder as a saver leaves it."""
    folder.mkdir(parents=True)
    about = {"ssh_after": 21.0, "worked": 1.5, "computer": HERE, **more}
    (folder / saved.ABOUT).write_text(json.dumps(about))
    os.utime(folder, (1_000_000 - age, 1_000_000 - age))
    return folder


def test_a_kind_of_lab_is_its_image_and_its_hardware() -> None:
    def of(image: Image = IMAGE, **changes: Any) -> Path | None:
        return saved.of_boot(image, replace(Settings(), **changes), "tcg")

    assert of() == of(accel="auto")
    kinds = {of(), of(gpus=2), of(memory=6144), of(Image(Path("/cache/fedcba9876543210")))}
    assert len(kinds) == 4


def test_nothing_is_kept_under_kvm_or_where_each_lab_is_to_boot(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert saved.of_boot(IMAGE, Settings(), "kvm") is None
    monkeypatch.setenv("VLAB_BOOT", "always")
    assert saved.of_boot(IMAGE, Settings(), "tcg") is None


def test_a_whole_state_of_this_boot_of_the_computer_is_read(tmp_path: Path) -> None:
    found = saved.read(state(tmp_path / "one"))
    assert found == saved.State(tmp_path / "one", 21.0, 1.5, HERE)


@pytest.mark.parametrize(
    "change", [{"computer": "another boot"}, {"of another version": 1}], ids=["boot", "version"]
)
def test_any_other_is_not(tmp_path: Path, change: dict[str, Any]) -> None:
    assert saved.read(state(tmp_path / "one", **change)) is None
    assert saved.read(tmp_path / "none") is None


def test_a_state_takes_the_place_of_one_that_cannot_be_read_alone(tmp_path: Path) -> None:
    state(tmp_path / "one", computer="another boot")
    saved.put(state(tmp_path / "new"), tmp_path / "one")
    assert saved.read(tmp_path / "one") is not None
    saved.put(state(tmp_path / "newer", worked=9.0), tmp_path / "one")
    found = saved.read(tmp_path / "one")
    assert found is not None
    assert found.worked == 1.5, "another one was as quick"


def test_the_states_used_last_are_kept(tmp_path: Path) -> None:
    folders = [state(tmp_path / "states" / str(age), age) for age in range(4)]
    saved.read(folders[3])  # used now
    saved.prune(tmp_path / "states", 2)
    assert {path.name for path in (tmp_path / "states").iterdir()} == {"3", "0"}


def test_what_a_killed_saver_left_is_deleted_and_what_another_writes_is_not(tmp_path: Path) -> None:
    root = tmp_path / "states"
    dead, live = state(root / "a-1.partial"), state(root / "a-2.partial")
    with hold.inherited(live / hold.OWNER):
        saved.prune(root, 1)
    assert live.exists()
    assert not dead.exists()
