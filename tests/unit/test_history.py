"""Runs over time: bands, the first divergence, the regression gate, the trend page."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from reports.history import divergence, gate, trend
from reports.history.bands import Band, band, least
from reports.history.history import History, HistoryError, opened
from reports.record.record import Record
from tests.unit import records

TODAY = date(2030, 1, 15)
BROKEN = {"bound": ("passed", ""), "viable": ("failed", "E   AssertionError: not viable")}


@pytest.fixture
def history(tmp_path: Path) -> Iterator[History]:
    """An empty one."""
    with opened(tmp_path / "history.sqlite") as known:
        yield known


@pytest.fixture
def usual(tmp_path: Path, history: History) -> History:
    """One that has four good runs, of which the gpu stage took 10 to 13 seconds."""
    for number in range(4):
        facts = {"answer": records.figures(seconds=20.0 + number, tokens_per_second=0.4)}
        history.add(
            records.write(tmp_path / f"good-{number}", stages={"gpu": 10.0 + number}, facts=facts)
        )
    return history


def _bare(page: str) -> str:
    """A page without the attributes of its cells."""
    return re.sub(r"<td [^>]*>", "<td>", page)


def _judged(history: History, folder: Path, seconds: float, **profile: object) -> dict[str, Any]:
    facts = {"answer": records.figures(seconds=21, tokens_per_second=0.4)}
    run = records.write(folder, stages={"gpu": seconds}, facts=facts, profile=profile)
    return gate.judge(run, history, TODAY)


def test_a_band() -> None:
    assert band([10, 10]) is None, "too few to say what is usual"
    assert band([10, 10, 10, 90]) == Band(10, 7.5, 12.5), "an outlier does not widen it"
    assert band([1, 1, 1]) == Band(1, 0, 3), "below two seconds there is noise alone"
    assert band([0.25] * 3, least("streamed seconds")) == Band(0.25, 0.1875, 0.3125)
    assert band([8, 10, 12]) == Band(10, 2, 18)
    assert band([*[90] * 30, *[10] * 10]) == Band(10, 7.5, 12.5), "the last ten are what is usual"


def test_a_time_within_its_band_passes(usual: History, tmp_path: Path) -> None:
    found = _judged(usual, tmp_path / "now", 14)
    assert not found["regression"]
    assert found["said"] == ["3 of 3 figures held against 4 good runs"]
    assert not _judged(usual, tmp_path / "quick", 1)["regression"], "quicker is no regression"


def test_a_time_that_leaves_its_band_is_a_regression(usual: History, tmp_path: Path) -> None:
    found = _judged(usual, tmp_path / "now", 60)
    assert found["regression"]
    assert found["said"][0] == ("regression: stage gpu seconds is 60 s, usual: 7.5 to 15.5 s")


def test_a_rate_that_falls_is_a_regression(usual: History, tmp_path: Path) -> None:
    facts = {"answer": records.figures(seconds=21, tokens_per_second=0.2)}
    run = records.write(tmp_path / "now", stages={"gpu": 11}, facts=facts)
    found = gate.judge(run, usual, TODAY)
    assert [m["name"] for m in found["measures"] if m["state"] == "regression"] == [
        "answer tokens_per_second"
    ]


@pytest.mark.parametrize(
    ("expires", "what", "regression", "said"),
    [
        ("2030-01-15", "stage gpu seconds", False, "waived: stage gpu seconds is 60 s"),
        ("2030-01-14", "stage gpu seconds", True, "expired: the waiver of ann"),
        ("2030-01-15", "stage kata seconds", True, "regression: stage gpu seconds is 60 s"),
    ],
)
def test_waivers(
    usual: History, tmp_path: Path, expires: str, what: str, regression: bool, said: str
) -> None:
    waiver = {"what": what, "owner": "ann", "reason": "new card", "expires": expires}
    found = _judged(usual, tmp_path / "now", 60, waiver=[waiver])
    assert found["regression"] is regression
    assert said in "\n".join(found["said"])


def test_an_expired_waiver_fails_by_itself(usual: History, tmp_path: Path) -> None:
    waiver = {"what": "x", "owner": "ann", "reason": "why", "expires": "2029-12-31"}
    assert _judged(usual, tmp_path / "now", 11, waiver=[waiver])["regression"]


def test_what_has_no_band_is_said_not_to_be_compared(history: History, tmp_path: Path) -> None:
    history.add(records.write(tmp_path / "good"))
    history.add(records.write(tmp_path / "bad", BROKEN, exit_status=1))
    found = _judged(history, tmp_path / "now", 60)
    assert not found["regression"]
    assert found["said"] == ["0 of 3 figures held against 1 good runs; a band takes 3"]


def test_the_first_divergence_and_what_had_changed(usual: History, tmp_path: Path) -> None:
    facts = {"gpus": records.gpu(driver_version="551")}
    usual.add(records.write(tmp_path / "bad", BROKEN, facts=facts, exit_status=1))
    found = divergence.newest(usual, "lab")
    assert found is not None
    assert (found.failed.id, found.good and found.good.id) == ("bad", "good-3")
    assert (found.step, found.then, found.now) == (f"{records.NODE}viable", "passed", "failed")
    assert found.failed.cause == "AssertionError: not viable"
    assert found.changed == {"NVIDIA driver": ("-", "551")}
    assert '<th scope="row">NVIDIA驱动</th><td>-</td><td>551</td>' in _bare(trend.page(usual, "zh"))


def test_what_changed_of_a_profile_is_told_by_its_keys(history: History, tmp_path: Path) -> None:
    for name, exit_status, subnet in (("good", 0, "10.1.0.0/16"), ("bad", 1, "10.2.0.0/16")):
        tests = BROKEN if exit_status else records.PASSED
        profile = {"network": {"subnet": subnet, "bridge": "cni1"}}
        run = records.write(tmp_path / name, tests, profile=profile, exit_status=exit_status)
        digest = run.start | {"profile_digest": name}
        history.add(dataclasses.replace(run, events=(digest, *run.events[1:])))
    found = divergence.newest(history, "lab")
    assert found is not None
    assert found.changed == {"profile.network.subnet": ("10.1.0.0/16", "10.2.0.0/16")}
    with_keys, without = history.conditions("good"), {"profile": "good", "harness": "c"}
    assert divergence.changed(without, with_keys | {"profile": "bad"})["profile"] == ("good", "bad")


def test_runs_of_part_of_the_suites_do_not_hide_the_good_ones(
    usual: History, tmp_path: Path
) -> None:
    usual.add(records.write(tmp_path / "part", {"bound": ("passed", "")}))
    usual.add(records.write(tmp_path / "bad", BROKEN, exit_status=1))
    found = divergence.newest(usual, "lab")
    assert found is not None
    assert found.good is not None
    assert (found.good.id, found.then) == ("good-3", "passed")


def test_a_run_that_was_interrupted_is_no_failure(usual: History, tmp_path: Path) -> None:
    usual.add(records.write(tmp_path / "stopped", exit_status=2))
    assert divergence.newest(usual, "lab") is None


def test_how_long_the_same_tests_took(usual: History, tmp_path: Path) -> None:
    tests = {f"{records.NODE}{name}" for name in records.PASSED}
    usual.add(records.write(tmp_path / "bad", BROKEN, exit_status=1))
    usual.add(records.write(tmp_path / "part", {"bound": ("passed", "")}))
    assert len(usual.took("lab", tests)) == 4
    assert len(usual.took("lab", tests, last=2)) == 2
    assert len(usual.took("lab", {f"{records.NODE}bound"})) == 1
    assert usual.took("", tests) == []
    assert (usual.lab_of("lab"), usual.lab_of("la")) == ("lab", "")


def test_labs_are_kept_apart_and_a_run_counts_once(usual: History, tmp_path: Path) -> None:
    other = records.write(tmp_path / "other", BROKEN, profile={"name": "b"}, exit_status=1)
    for _ in range(2):
        usual.add(other)
    assert usual.labs() == ["b", "lab"]
    assert [run.id for run in usual.runs("b")] == ["other"]
    assert divergence.newest(usual, "lab") is None
    assert divergence.newest(usual, "b") is not None


@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_trend_page(usual: History, tmp_path: Path, language: str) -> None:
    usual.add(records.write(tmp_path / "bad", BROKEN, exit_status=1))
    text = _bare(trend.page(usual, language))
    for said in ("<svg", "good-3", "AssertionError: not viable", f"{records.NODE}viable", "80 %"):
        assert said in text
    labels = ("stage gpu seconds</th>", "“gpu”阶段耗时（秒）</th>")
    (row,) = [line for line in text.splitlines() if any(label in line for label in labels)]
    assert "<td>1</td><td>7.5" in row
    (row,) = [line for line in text.splitlines() if f"{records.NODE}viable</code></th>" in line]
    assert "<td>5</td><td>80 %</td><td>1</td>" in row, "ran five times, once otherwise than before"


def test_a_history_of_another_version_is_left_alone(tmp_path: Path) -> None:
    import sqlite3

    path = tmp_path / "history.sqlite"
    database = sqlite3.connect(path)
    database.execute("PRAGMA user_version = 99")
    database.close()
    before = path.read_bytes()
    with pytest.raises(HistoryError, match="has version 99"), opened(path):
        pass
    assert path.read_bytes() == before


def test_a_record_of_a_run_that_was_killed_is_history_too(history: History, tmp_path: Path) -> None:
    run: Record = records.write(tmp_path / "cut", exit_status=None)
    history.add(run)
    (past,) = history.runs("lab")
    assert not past.good
    assert past.verdict == "not assessed"


def test_the_trend_page_leads_to_the_reports(usual: History, tmp_path: Path) -> None:
    usual.add(records.write(tmp_path / "bad 1", BROKEN, exit_status=1))
    usual.add(records.write(tmp_path / "away", exit_status=10))
    text = _bare(trend.page(usual, base="runs/"))
    assert '<a href="runs/bad%201/report.html"><code>bad 1</code></a>' in text
    found = divergence.newest(usual, "lab")
    assert found is not None
    assert found.failed.id == "bad 1", "a host that was away says nothing of the lab"
    assert "(interrupted, unreachable, refused, ...): 1</p>" in text
    (row,) = [line for line in text.splitlines() if f"{records.NODE}bound</code></th>" in line]
    assert "<td>6</td><td>100 %</td>" in row
