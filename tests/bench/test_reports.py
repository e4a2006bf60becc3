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
from tests import fleets
from tests.unit import kept, records
from tests.unit.mini import ROOT

Benchmark = Callable[..., object]
SECONDS = 2.0  # of a processor: for the documents of a run, and for the page of ten thousand
MEMORY = 200 * 1024  # KiB, at the most
RUNS, LABS = 10_000, 5
HOSTS = 100  # of a fleet: kept runs, every third one that failed
FLEET = 0.4  # seconds of a processor for each of them
EVENTS = 20_000  # of a long record
STEEP = 1.5  # how much longer each of its events may take than one of a tenth of them
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


def test_the_page_of_a_hundred_hosts_takes_one_record_at_a_time(tmp_path: Path) -> None:
    for number in range(HOSTS):
        source = FOLDERS[number % 3 == 0]
        fleets.copy(
            tmp_path / "runs", f"host-{number:03}", {"Machine id (digest)": number}, source=source
        )
    words = [sys.executable, "-m", "reports", "fleet", str(tmp_path / "runs")]
    words += ["--out", str(tmp_path / "fleet.html")]
    child = subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    said = child.stdout.read()
    _, status, usage = os.wait4(child.pid, 0)
    seconds = usage.ru_utime + usage.ru_stime
    size = (tmp_path / "fleet.html").stat().st_size
    print(f"{seconds:.1f} s of a processor, {usage.ru_maxrss / 1024:.0f} MiB, {size / 1e3:.0f} kB")
    assert (status, "100 hosts: 66 passed, 34 failed" in said) == (0, True)
    assert usage.ru_maxrss < MEMORY
    assert seconds < FLEET * HOSTS


def _documents(folder: Path, events: int) -> float:
    """Seconds of a processor for the documents of a run with so many commands, half of a test's."""
    command = {"host": "lab", "argv": ["true"], "line": "true", "rc": 0, "seconds": 0.1}
    command |= {"out": "said\n" * 20, "err": "", "out_bytes": 100, "err_bytes": 0, "error": None}
    ran = [("command", command | {"stage": stage}) for stage in ("gpu", None)]
    test = kept.passed().kind("test")[0]
    kept_test = {key: value for key, value in test.items() if key not in ("kind", "chain")}
    more = [*(ran * (events // 2)), ("test", kept_test)]
    records.write(folder / "run", events=more)
    started = time.process_time()
    documents.write(run := load(folder / "run"), check(run), folder)
    return time.process_time() - started


def test_a_long_record_takes_no_more_than_its_length(tmp_path: Path) -> None:
    """A ratio within one run, which says the same on a slow machine."""
    counts = (10, EVENTS // 10, EVENTS)  # the first of them loads what all need
    _, short, long = (_documents(tmp_path / str(count), count) for count in counts)
    assert long / short < 10 * STEEP, f"{short:.1f} s and {long:.1f} s"


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
