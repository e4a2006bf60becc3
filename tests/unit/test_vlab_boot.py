"""How long a boot is waited for."""

from __future__ import annotations

from pathlib import Path

import pytest

from vlab import boot


class Time:
    """A clock that somebody else sets."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def time() -> Time:
    return Time()


def test_a_boot_that_has_said_nothing_for_long_has_hung(tmp_path: Path, time: Time) -> None:
    patience = boot.Patience(tmp_path / "console", clock=time)
    time.now += boot.SILENCE - 1
    assert patience.over() == ""
    time.now += 1
    assert patience.over() == f"and has said nothing for {boot.SILENCE:.0f} s"


def test_a_boot_that_says_something_new_is_only_slow(tmp_path: Path, time: Time) -> None:
    console = tmp_path / "console"
    patience = boot.Patience(console, clock=time)
    for _ in range(4):
        time.now += boot.SILENCE - 1
        with console.open("a") as file:
            file.write("a line\n")
        assert patience.left() == boot.SILENCE
    time.now += boot.SILENCE
    assert patience.over() != ""


def test_a_boot_that_never_ends_is_given_up_however_much_it_says(
    tmp_path: Path, time: Time
) -> None:
    console = tmp_path / "console"
    patience = boot.Patience(console, clock=time)
    time.now += boot.DEADLINE - 1
    console.write_text("A start job is running for ...\n")
    assert patience.left() == 1
    time.now += 1
    console.write_text("A start job is still running for ...\n")
    assert patience.over() == f"within {boot.DEADLINE:.0f} s"
