"""The guide scripted by hand against `pytest -m acceptance`: pairs in one run, as ratios.

Both on labs of their own, which go on from one saved state. BENCH_PAIRS says how many pairs (3): on
a quiet machine without KVM half an hour each. The table is Markdown, for docs/performance.md.
"""

from __future__ import annotations

import os
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from statistics import median

import pytest

from tests.conftest import Shown
from tests.vlab.lab import REMOTE, SCRIPT, Lab, pass_on

pytestmark = pytest.mark.timeout(0)

Seen = dict[str, list[float]]

PAIRS = int(os.environ.get("BENCH_PAIRS", "3"))
STEPS = ("rootfs", "kata", "image", "gpu", "network", "container", "model", "ask", "bare", "clean")
FIRST, SECOND, ONE = "first run", "second run", "suite network alone"
RUNS = {FIRST: "acceptance", SECOND: "acceptance", ONE: "acceptance and network"}
# Of what a run may take at most so much, in parts of that.
GOALS = {FIRST: ("script", 0.9), SECOND: ("script", 0.1), ONE: ("script: network", 1.2)}


def test_a_run_costs_less_than_the_guide_by_hand(shown: Shown) -> None:
    seen: Seen = defaultdict(list)
    with shown():
        for number in range(1, PAIRS + 1):
            _script(seen)
            _runs(seen)
            pass_on(
                f"pair {number} of {PAIRS}: { ({k: round(v[-1], 1) for k, v in seen.items()}) }"
            )
        medians = {what: median(seconds) for what, seconds in seen.items()}
        pass_on("\n" + table(medians))
    over = {w: medians[w] / medians[of] for w, (of, _) in GOALS.items()}
    assert [f"{w}: {r:.2f}" for w, r in over.items() if r > GOALS[w][1]] == []


def table(medians: Mapping[str, float]) -> str:
    """The medians, and what they are of those that they are held against."""
    rows = ["| | seconds (median) | ratio | goal |", "| --- | --- | --- | --- |"]
    for what, seconds in medians.items():
        of, goal = GOALS.get(what, ("", 0.0))
        ratio = f"{seconds / medians[of]:.2f} of {of}" if of else ""
        rows.append(f"| {what} | {seconds:.1f} | {ratio} | {goal or ''} |")
    return "\n".join(rows)


def _script(seen: Seen) -> None:
    with Lab.up() as lab:
        lab.put(SCRIPT, REMOTE)
        with _timed(seen, "script"):
            for step in STEPS:
                with _timed(seen, f"script: {step}"):
                    lab.step(step)


def _runs(seen: Seen) -> None:
    with Lab.up() as lab:
        for what, suites in RUNS.items():
            with _timed(seen, what):
                run = lab.accept(suites)
            assert run.status == 0, run.output[-3000:]
            for stage in run.events("stage", state="ok") if what == FIRST else ():
                seen[f"stage {stage['name']}"].append(stage["seconds"])


@contextmanager
def _timed(seen: Seen, what: str) -> Iterator[None]:
    began = time.monotonic()
    yield
    seen[what].append(time.monotonic() - began)
