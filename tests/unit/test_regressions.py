"""Which runs are compared with which, and what of a regression is told."""

from __future__ import annotations

import dataclasses
import multiprocessing
import re
import sqlite3
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from fixtures.image.inspect import Listed
from reports.history import divergence, gate, trend
from reports.history.history import FILE, History, HistoryError, feed, opened
from reports.record.measures import conditions
from reports.record.record import Record
from tests.unit import records
from tests.unit.mini import PLUGINS, REPORTS, Mini
from tests.unit.patience import PATIENCE

TODAY = date(2030, 1, 15)
HOST = {"surroundings": records.host("a", "0123")}
WAIVER = {"what": "stage gpu seconds", "owner": "ann", "reason": "why", "expires": "2030-01-31"}


@pytest.fixture
def history(tmp_path: Path) -> Iterator[History]:
    """One that has four good runs of one host, all of them alike."""
    with opened(tmp_path / "history.sqlite") as known:
        for number in range(4):
            known.add(_run(tmp_path / f"good-{number}"))
        yield known


def _run(folder: Path, token: float = 0.2, gpu: float = 10.0, **more: Any) -> Record:
    facts = {
        "streamed": records.figures(first_token_seconds=token),
        **HOST,
        **more.pop("facts", {}),
    }
    return records.write(folder, stages={"kata": 5.0, "gpu": gpu}, facts=facts, **more)


def test_a_first_token_that_comes_late_is_a_regression(history: History, tmp_path: Path) -> None:
    found = gate.judge(_run(tmp_path / "now", token=0.3), history, TODAY)
    assert found["said"][0] == (
        "regression: streamed first_token_seconds is 0.3 s, usual: 0.15 to 0.25 s"
    )
    assert not gate.judge(_run(tmp_path / "fine", token=0.24), history, TODAY)["regression"]


def test_a_regression_names_its_figure(history: History, tmp_path: Path) -> None:
    slow = gate.judge(_run(tmp_path / "slow", gpu=60), history, TODAY)
    history.add(_run(tmp_path / "bad", gpu=60, exit_status=12, facts={gate.FACT: slow}))
    found = divergence.newest(history, "lab on a (0123)")
    assert found is not None
    assert found.failed.cause == "regression: stage gpu seconds is 60 s, usual: 7.5 to 12.5 s"
    assert (found.step, found.changed) == ("", {})
    assert [(f.name, f.value, f.usual.high) for f in found.figures] == [
        ("stage gpu seconds", 60, 12.5)
    ]
    text = trend.page(history)
    assert "Figures worse than usual" in text
    assert "stage gpu seconds: 60, usually 7.5 to 12.5" in text


def test_what_can_no_longer_be_assessed_is_a_difference(history: History, tmp_path: Path) -> None:
    tests = {"bound": ("skipped", "not assessed: no card"), "viable": ("failed", "E   no")}
    history.add(_run(tmp_path / "bad", tests=tests, exit_status=1))
    found = divergence.newest(history, "lab on a (0123)")
    assert found is not None
    assert (found.step, found.then, found.now) == (
        *(f"{records.NODE}bound", "passed"),
        "not assessed",
    )


def test_hosts_are_kept_apart(history: History, tmp_path: Path) -> None:
    other = {"surroundings": records.host("a", "4567")}
    run = _run(tmp_path / "other", gpu=90, facts=other)
    assert gate.judge(run, history, TODAY)["against"] == []
    history.add(run)
    assert history.labs() == ["lab on a (4567)", "lab on a (0123)"]
    assert "trend --lab &#39;lab on a (0123)&#39;" in trend.page(history)
    assert "good-3" in trend.page(history, lab="lab on a (0123)")
    with pytest.raises(HistoryError, match="no runs of lab 'x', but of: lab on a"):
        trend.page(history, lab="x")


def test_a_host_that_was_not_reached_is_the_one_of_before(history: History, tmp_path: Path) -> None:
    history.add(records.write(tmp_path / "lost", {}, stages={"x": 1.0}, exit_status=10))
    assert history.runs("lab on a (0123)")[-1].id == "lost"


def test_every_virtual_lab_is_the_same_lab(history: History, tmp_path: Path) -> None:
    """Two runs of it differ in nothing, though each has a new machine and builds its image."""
    runs = []
    for number in range(2):
        image = Listed(f"sha256:{number}", config="", platforms=())
        run = records.write(
            tmp_path / f"v{number}",
            facts={"surroundings": records.host("lab", str(number)), "image": image},
            profile={"target": {"kind": "vlab"}},
        )
        assert "sha256" in str(run.facts)
        runs.append(run)
        history.add(run)
    assert conditions(runs[0]) == conditions(runs[1])
    assert history.count("lab") == 2


def test_what_is_waived_does_not_become_usual(history: History, tmp_path: Path) -> None:
    late = {**WAIVER, "expires": "2999-12-31"}
    for number in range(9):
        history.add(_run(tmp_path / f"slow-{number}", gpu=60, profile={"waiver": [late]}))
    found = gate.judge(_run(tmp_path / "now", gpu=60), history, TODAY)
    assert found["said"][0] == "regression: stage gpu seconds is 60 s, usual: 7.5 to 12.5 s"


def test_a_waiver_in_use_and_one_that_names_nothing(history: History, tmp_path: Path) -> None:
    profile = {"waiver": [WAIVER, {**WAIVER, "what": "stage gpu"}]}
    found = gate.judge(_run(tmp_path / "now", gpu=60, profile=profile), history, TODAY)
    (row,) = [row for row in found["measures"] if row["state"] == "waived"]
    assert row["waiver"] == WAIVER
    assert "the waiver of ann for 'stage gpu' names no figure of this lab; there are: stage" in (
        "\n".join(found["said"])
    )
    assert not found["regression"]


def test_the_newest_value_is_no_part_of_its_own_band(tmp_path: Path) -> None:
    with opened(tmp_path / "h.sqlite") as history:
        for number, seconds in enumerate([10, 20, 30, 100]):
            history.add(_run(tmp_path / f"run-{number}", gpu=seconds))
        text = re.sub(r"(<[^>]*>)+", "|", trend.page(history))
    assert "|stage gpu seconds|100|0 to 60|worse than usual|" in text


def test_the_newest_is_the_one_that_began_last(history: History, tmp_path: Path) -> None:
    run = _run(tmp_path / "early")
    start = {**run.start, "time": "2020-01-01T00:00:00.000+00:00"}
    history.add(dataclasses.replace(run, events=(start, *run.events[1:])))
    assert [run.id for run in history.runs("lab on a (0123)")] == [
        *("early", "good-0", "good-1", "good-2", "good-3")
    ]


def _both(history: History, *runs: Record) -> None:
    for run in runs:
        history.add(run)


def _adds(path: Path, run: Path) -> None:
    from reports.record.reading import load

    with opened(path) as history:
        history.add(load(run))


def test_runs_that_end_together_all_come_in(tmp_path: Path) -> None:
    path = tmp_path / "new" / "history.sqlite"
    runs = [tmp_path / f"run-{number}" for number in range(4)]
    for run in runs:
        records.write(run)
    fork = multiprocessing.get_context("fork")
    for _ in range(3):
        path.unlink(missing_ok=True)
        started = [fork.Process(target=_adds, args=(path, run)) for run in runs]
        for process in started:
            process.start()
        for process in started:
            process.join(PATIENCE)
        assert [process.exitcode for process in started] == [0, 0, 0, 0]
        with opened(path) as history:
            assert history.count("lab") == 4


def test_a_history_whose_making_was_cut_off_is_made(tmp_path: Path) -> None:
    path = tmp_path / "history.sqlite"
    run = records.write(tmp_path / "run")
    other = dataclasses.replace(run, digest="0" * 64)
    with pytest.raises(HistoryError), opened(path) as history:
        _both(history, run, other)
    with sqlite3.connect(path) as database:
        assert database.execute("SELECT count(*) FROM sqlite_master").fetchone() == (0,)
    with opened(path) as history:
        assert history.labs() == []


def test_a_run_that_was_killed_is_fed_in_and_again_when_it_ends(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    run = records.write(runs / "one", exit_status=None)
    (runs / "last").symlink_to("one")
    records.write(runs / "recover", {}, facts={"collected": {}})
    (runs / "broken").mkdir()
    (runs / "broken" / "record.jsonl").write_text("x\n")
    with opened(tmp_path / "history.sqlite") as history:
        (problem,) = feed(history, runs)
        assert "line 1 is not JSON" in problem
        assert [(past.id, past.exit_status) for past in history.runs("lab")] == [("one", None)]
        (run.folder / "record.jsonl").unlink()
        records.Made().write(run.folder)
        feed(history, runs)
        assert [(past.id, past.exit_status) for past in history.runs("lab")] == [("one", 0)]


def test_a_run_feeds_in_those_that_were_killed_before_it(tmp_path: Path) -> None:
    mini = Mini(tmp_path / "m", plugins=[*PLUGINS, REPORTS])
    records.write(mini.folder / "reports" / "runs" / "20200101T000000Z-aaaaaa", exit_status=None)
    assert mini.pytest("-m", "acceptance", "-k", "free")[0] == 0
    with opened(mini.folder / "reports" / FILE) as history:
        assert {run.id for lab in history.labs() for run in history.runs(lab)} >= {
            "20200101T000000Z-aaaaaa",
            mini.last.resolve().name,
        }
