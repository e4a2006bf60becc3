"""How long the documents of a run take, and the trend page of ten thousand runs; with the limits.

Timed, and so for a quiet machine: no part of what a change has to pass.
"""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from reports import documents
from reports.history import trend
from reports.history.history import opened
from reports.record.integrity import check
from reports.record.reading import load
from reports.record.record import Record
from tests.unit import kept, records
from tests.unit.mini import ROOT

Benchmark = Callable[..., object]
SECONDS = 2.0  # of a processor: for the documents of a run, and for the page of ten thousand
MEMORY = 200 * 1024  # KiB, at the most
RUNS, LABS = 10_000, 5
FOLDERS = [kept.PASSED, kept.FAILED]


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda path: path.name)
def test_the_documents_of_a_run(benchmark: Benchmark, tmp_path: Path, folder: Path) -> None:
    benchmark(lambda: documents.write(run := load(folder), check(run), tmp_path))


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda path: path.name)
def test_the_command_keeps_within_its_limits(tmp_path: Path, folder: Path) -> None:
    words = [sys.executable, "-m", "reports", "render", str(folder), "--out", str(tmp_path)]
    taken = []
    for _ in range(3):
        child = subprocess.Popen(words, cwd=ROOT, stdout=subprocess.DEVNULL)
        _, status, usage = os.wait4(child.pid, 0)
        assert status == 0
        taken.append(usage.ru_utime + usage.ru_stime)
        assert usage.ru_maxrss < MEMORY
    assert min(taken) < SECONDS


def _again(record: Record, number: int) -> Record:
    """The record as that of another run, some hours later, in one of the labs."""
    time = datetime.fromisoformat(record.start["time"]) + timedelta(hours=number)
    profile = {**record.profile, "name": f"lab-{number % LABS}"}
    start = record.start | {"id": f"run-{number}", "time": time.isoformat(), "profile": profile}
    return dataclasses.replace(record, events=(start, *record.events[1:]))


def test_the_trend_of_ten_thousand_runs(benchmark: Benchmark, tmp_path: Path) -> None:
    tests = {f"t{number}": ("passed", "") for number in range(120)}
    stages = {f"s{number}": 10.0 + number for number in range(9)}
    answer = {"answer": records.figures(seconds=20.0, tokens_per_second=0.4)}
    run = records.write(tmp_path / "run", tests, stages=stages, facts=answer)
    with opened(tmp_path / "history.sqlite") as history:
        for number in range(RUNS):
            history.add(_again(run, number))

    def page() -> str:
        with opened(tmp_path / "history.sqlite") as history:
            return trend.page(history)

    assert str(RUNS // LABS) in page()
    started = time.process_time()
    page()
    assert time.process_time() - started < SECONDS
    benchmark(page)
