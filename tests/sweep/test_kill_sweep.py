"""``kill -9`` after every entry of the journal and in the middle of every change, then the undo.

In the middle of each also with the lab's power cut, and with the recovery killed once. Two parts:
rootfs and image on a new lab; then all suites on a lab that has those already, as second runs do.
Each run is carried out some times, and its lab kept at some changes each time; from there a lab
goes on for each point. SWEEP_PARTS says which parts ("1 2"), SWEEP_FROM the first change of a part
and SWEEP_TO the last, SWEEP_AT which points ("entry change power recovery"; default: all). Every
line is printed at once, and so is what is left.
"""

from __future__ import annotations

import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.conftest import Shown
from tests.sweep import points
from tests.sweep.points import Swept
from vlab import saved
from vlab.image import cache_root

pytestmark = pytest.mark.timeout(0)

PARTS = os.environ.get("SWEEP_PARTS", "1 2").split()
SUITES = {"1": "acceptance and (rootfs or image)", "2": "acceptance"}
FIRST = int(os.environ.get("SWEEP_FROM", "1"))
LAST = int(os.environ.get("SWEEP_TO", "1000"))
NONE = (1000, 1000)  # changes
AT_ONCE = 16 // len(points.KEPT)  # changes that a run is kept at: so many states, of some 3 GB each
LABS = 2  # that go on side by side


def test_nothing_is_left_wherever_a_run_is_killed(shown: Shown) -> None:
    found: list[Swept] = []
    folder = cache_root() / f"sweep-{os.getpid()}"
    folder.mkdir()
    prepared = folder / "prepared"
    try:
        with shown():
            if "1" in PARTS:
                found += _part("1", None, prepared)
            if "2" in PARTS:
                if not prepared.exists():
                    points.keep(folder / "none", SUITES["1"], NONE, None, prepared)
                found += _part("2", saved.read(prepared), prepared)
            print(f"{sum(one.clean for one in found)} of {len(found)} points clean", flush=True)
    finally:
        shutil.rmtree(folder)
    assert found, "no run was killed"
    assert [str(one) for one in found if not one.clean] == []


def _part(part: str, since: saved.State | None, end: Path) -> list[Swept]:
    """Sweep a part on labs that go on from a state; where a run has ended its lab is kept."""
    found: list[Swept] = []
    for first in range(FIRST, LAST + 1, AT_ONCE):
        states = end.with_name(f"{part}-{first}")
        ended = points.keep(
            states, SUITES[part], (first, min(LAST, first + AT_ONCE - 1)), since, end
        )
        found += _swept(part, sorted(states.iterdir()))
        if ended:
            break
    return found


def _swept(part: str, states: list[Path]) -> list[Swept]:
    def each(state: Path) -> list[Swept]:
        found = []
        for one in points.swept(state, part):
            print(one, flush=True)
            found.append(one)
        return found

    with ThreadPoolExecutor(LABS) as pool:
        return [one for some in pool.map(each, states) for one in some]
