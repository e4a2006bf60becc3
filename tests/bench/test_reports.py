"""How long the documents of a run take, and the trend page of ten thousand runs."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest

from reports import documents, trend
from reports.history import opened
from reports.integrity import check
from reports.reading import load
from reports.record import Record
from tests.unit import records

Benchmark = Callable[..., object]
RUNS = Path(__file__).parents[2] / "reports" / "runs"


def test_the_documents_of_the_last_run(benchmark: Benchmark, tmp_path: Path) -> None:
    """Of a real one: to be done after an acceptance run."""
    if not (RUNS / "last").exists():
        pytest.skip("no run in reports/runs")
    benchmark(lambda: documents.write(run := load(RUNS / "last"), check(run), tmp_path))


def _again(record: Record, number: int) -> Record:
    start = {**record.start, "id": f"run-{number}"}
    return dataclasses.replace(record, events=(start, *record.events[1:]))


def test_the_trend_of_ten_thousand_runs(benchmark: Benchmark, tmp_path: Path) -> None:
    tests = {f"t{number}": ("passed", "") for number in range(80)}
    stages = {f"s{number}": 10.0 + number for number in range(9)}
    run = records.write(tmp_path / "run", tests, stages=stages)
    with opened(tmp_path / "history.sqlite") as history:
        for number in range(10_000):
            history.add(_again(run, number))

    def page() -> str:
        with opened(tmp_path / "history.sqlite") as history:
            return trend.page(history)

    assert "10000" in page()
    benchmark(page)
