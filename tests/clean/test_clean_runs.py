"""No false alarm: whole runs on healthy labs, counted.

Five on each lab, as a lab host has them night after night: the first provisions all, the others
find the two images of the first. CLEAN_RUNS says how many (20), CLEAN_LOADED how many of them are
beside a load that keeps all cores busy twice over (5, the last ones). Each prints a line at once:
hours on an emulated lab.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.conftest import Shown
from tests.vlab.lab import Lab

pytestmark = pytest.mark.timeout(0)

RUNS = int(os.environ.get("CLEAN_RUNS", "20"))
LOADED = int(os.environ.get("CLEAN_LOADED", "5"))
ON_ONE_LAB = 5
BUSY = (sys.executable, "-c", "while True: pass")


@contextmanager
def load() -> Iterator[None]:
    """Within the block there are two busy processes a core."""
    count = 2 * len(os.sched_getaffinity(0))
    busy = [subprocess.Popen(BUSY, start_new_session=True) for _ in range(count)]
    try:
        yield
    finally:
        for process in busy:
            process.kill()
            process.wait()


@contextmanager
def nothing() -> Iterator[None]:
    yield


def test_every_run_passes(shown: Shown) -> None:
    alarms: list[str] = []
    for first in range(1, RUNS + 1, ON_ONE_LAB):
        with shown(), Lab.up() as lab:
            for number in range(first, min(RUNS, first + ON_ONE_LAB - 1) + 1):
                alarms += _alarms(lab, number)
    assert alarms == []


def _alarms(lab: Lab, number: int) -> list[str]:
    loaded = number > RUNS - LOADED
    began = time.monotonic()
    with load() if loaded else nothing():
        run = lab.accept("acceptance and not local")
    outcomes = list(run.outcomes().values())
    line = (
        f"{number:2} of {RUNS}{' beside a load' * loaded}: exit status {run.status}, "
        f"{outcomes.count('passed')} passed, {time.monotonic() - began:.0f} s"
    )
    print(line, flush=True)
    return [] if run.status == 0 else [f"{line}\n{run.output[-2000:]}"]
