"""``kill -9`` after every entry of the journal and in the middle of every change, then the undo.

In the middle of each also with the lab's power cut, and with the recovery killed once. Each is a
run of its own, up to that change: hours on an emulated lab. SWEEP_SUITES says which suites
(default: all), SWEEP_CHANGES how many changes at most. Every line is printed at once.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

import vlab
from tests.conftest import Shown
from tests.sweep.kill import POINTS, POWER, kill
from tests.vlab.conftest import started
from tests.vlab.lab import Lab

pytestmark = pytest.mark.timeout(0)

SUITES = os.environ.get("SWEEP_SUITES", "acceptance")
AT_MOST = int(os.environ.get("SWEEP_CHANGES", "1000"))


@pytest.fixture(scope="module")
def lab(shown: Shown) -> Iterator[Lab]:
    """A lab that stays up."""
    yield from started(shown, Lab.up())


@pytest.mark.parametrize("at", POINTS)
def test_nothing_is_left_wherever_a_run_is_killed(
    lab: Lab, shown: Shown, tmp_path: Path, at: str
) -> None:
    seen = tmp_path / "seen"
    seen.write_text("")
    bad: list[str] = []
    if at == POWER:
        vlab.reset(lab.machine)
    for number in range(1, AT_MOST + 1):
        with shown():
            killed = kill(lab, SUITES, at, seen)
            if not killed.change:
                assert killed.run.status == 0, killed.run.output[-3000:]
                break
            how = "clean" if killed.clean else f"{killed.recovered}, {killed.left}"
            line = f"{number:2} killed at the {at} {killed.change}: {how}"
            print(line, flush=True)
            bad += [] if killed.clean else [line]
    assert seen.read_text("utf-8"), "no run was killed"
    assert bad == []
