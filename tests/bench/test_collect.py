"""How long pytest takes before it can begin."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from statistics import median

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from tests.unit.mini import ROOT

GOAL = 1.0


def test_collecting_the_acceptance_suites(
    benchmark: BenchmarkFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    """`pytest --collect-only -m acceptance`, the interpreter's own start included."""
    argv = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-m", "acceptance"]
    # As an engineer has it, the first time excepted: with what Python has compiled.
    environ = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    seconds: list[float] = []

    def collect() -> None:
        started = time.perf_counter()
        subprocess.run(argv, cwd=ROOT, env=environ, capture_output=True, check=True)
        seconds.append(time.perf_counter() - started)

    benchmark.pedantic(collect, rounds=7, warmup_rounds=1)  # type: ignore[no-untyped-call]
    found = median(seconds[1:])
    with capsys.disabled():
        print(
            f"\npytest --collect-only -m acceptance: {found:.2f} s (median of 7),"
            f" best {min(seconds):.2f} s; goal {GOAL}"
        )
    assert found < GOAL
