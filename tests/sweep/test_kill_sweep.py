"""``kill -9`` after every entry of the journal and in the middle of every change, then the undo.

In the middle of each also with the lab's power cut, and with the recovery killed once. A run is
carried out some times, and its lab kept at some changes each time; from there a lab goes on for
each point. SWEEP_SUITES says which suites (default: all), SWEEP_FROM the first change and
SWEEP_TO the last, SWEEP_AT which points ("entry change power recovery"; default: all). Every line
is printed at once, and so is what is left.
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
from vlab.image import cache_root

pytestmark = pytest.mark.timeout(0)

SUITES = os.environ.get("SWEEP_SUITES", "acceptance")
FIRST = int(os.environ.get("SWEEP_FROM", "1"))
LAST = int(os.environ.get("SWEEP_TO", "1000"))
AT_ONCE = 10 // len(points.KEPT)  # changes that a run is kept at: so many states, of some 3 GB each
LABS = 2  # that go on side by side


def test_nothing_is_left_wherever_a_run_is_killed(shown: Shown) -> None:
    found: list[Swept] = []
    states = cache_root() / f"sweep-{os.getpid()}"
    with shown():
        for first in range(FIRST, LAST + 1, AT_ONCE):
            try:
                ended = points.keep(states, SUITES, first, min(LAST, first + AT_ONCE - 1))
                found += _swept(sorted(states.iterdir()))
            finally:
                shutil.rmtree(states, ignore_errors=True)
            if ended:
                break
        print(f"{sum(one.clean for one in found)} of {len(found)} points clean", flush=True)
    assert found, "no run was killed"
    assert [str(one) for one in found if not one.clean] == []


def _swept(states: list[Path]) -> list[Swept]:
    def each(state: Path) -> list[Swept]:
        found = []
        for one in points.swept(state):
            print(one, flush=True)
            found.append(one)
        return found

    with ThreadPoolExecutor(LABS) as pool:
        return [one for some in pool.map(each, states) for one in some]
