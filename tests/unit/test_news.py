"""What is new in a run, and `--fail-on new`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from harness import exits
from reports.history import news
from reports.history.history import History, opened
from reports.record.record import Record
from tests.sample import during
from tests.unit import records
from tests.unit.mini import PLUGINS, REPORTS, Mini

BAD = ("failed", "E   assert 0")
FINE = ("passed", "")
OUT = ("skipped", "not assessed: no such silicon")
BROKEN = "Stage 'gpu' failed: no card"


@pytest.fixture
def history(tmp_path: Path) -> Iterator[History]:
    """An empty one."""
    with opened(tmp_path / "history.sqlite") as known:
        yield known


def run(folder: Path, a: tuple[str, str], b: tuple[str, str] = FINE, **more: Any) -> Record:
    """A run of two tests; of other results than passed it ends with 1."""
    ended = {"exit_status": int(BAD in (a, b)), **more}
    return records.write(folder, {"a": a, "b": b}, **ended)


def found(record: Record, history: History) -> Mapping[str, Any]:
    return {key: names for key, names in news.find(record, history).items() if names}


A, B = f"{records.NODE}a", f"{records.NODE}b"


def test_without_an_earlier_run_every_failure_is_new(history: History, tmp_path: Path) -> None:
    assert found(run(tmp_path / "1", BAD), history) == {"failures": [A]}


def test_a_test_is_held_against_when_it_was_last_looked_at(
    history: History, tmp_path: Path
) -> None:
    history.add(run(tmp_path / "1", FINE, BAD))
    history.add(run(tmp_path / "2", FINE, OUT))
    history.add(records.write(tmp_path / "3", {"a": FINE}, exit_status=2))
    assert found(run(tmp_path / "4", BAD, BAD), history) == {
        "earlier": 3,
        "last_good": "2",
        "failures": [A],
        "known": [B],
    }
    assert found(run(tmp_path / "5", FINE, FINE), history)["passes"] == [B]


def test_another_lab_says_nothing(history: History, tmp_path: Path) -> None:
    history.add(run(tmp_path / "1", BAD, profile={"name": "other"}))
    assert found(run(tmp_path / "2", BAD), history) == {"failures": [A]}


def test_the_run_itself_is_no_earlier_one(history: History, tmp_path: Path) -> None:
    """Another run's end may have put it in while it goes on."""
    mine = run(tmp_path / "1", BAD, exit_status=None)
    history.add(mine)
    assert found(mine, history) == {"failures": [A]}


def test_a_stage_counts_itself_and_not_by_the_test_that_it_stops(
    history: History, tmp_path: Path
) -> None:
    def broken(name: str) -> Record:
        stage = {"name": "gpu", "state": "failed", "seconds": 1.0, "error": BROKEN}
        events = [("stage", {"name": "gpu", "state": "started"}), ("stage", stage)]
        tests = {"a": ("error", BROKEN), "b": ("skipped", 'stage "gpu" failed')}
        return records.write(tmp_path / name, tests, stages={}, events=events, exit_status=1)

    first = broken("1")
    assert found(first, history) == {"failures": ["stage gpu"]}
    history.add(first)
    assert found(broken("2"), history) == {"earlier": 1, "known": ["stage gpu"]}
    mended = found(run(tmp_path / "3", BAD), history)
    assert (mended["failures"], mended["passes"]) == ([A], ["stage gpu"]), "it was never reached"


def test_worse_than_the_spread_of_the_last_ten(history: History, tmp_path: Path) -> None:
    for number in range(12):  # the first two took a hundred seconds
        seconds = 100.0 if number < 2 else 10.0 + number % 3
        history.add(run(tmp_path / f"{number:02}", FINE, stages={"gpu": seconds}))
    assert "slower" not in found(run(tmp_path / "a", FINE, stages={"gpu": 13.0}), history)
    (slow,) = found(run(tmp_path / "b", FINE, stages={"gpu": 20.0}), history)["slower"]
    assert slow == {"name": "stage gpu seconds", "value": 20.0, "low": 7.0, "high": 15.0}


def _mini(folder: Path) -> Mini:
    return Mini(folder, during.find_no_card, plugins=[*PLUGINS, REPORTS])


NEW = ("-m", "acceptance or clause", "--fail-on", "new")


def test_a_run_ends_well_where_only_known_failures_are_left(tmp_path: Path) -> None:
    mini = _mini(tmp_path / "m")
    status, out = mini.pytest(*NEW)
    assert status == exits.FAILED
    assert "there is no earlier run of this lab: every failure is a new one" in out
    assert "new failures: stage two" in out
    status, out = mini.pytest(*NEW)
    assert status == exits.PASSED, out
    assert "failed before, too: stage two, which do not fail this run (--fail-on new)" in out
    assert "verdict          failed: " in out, "which says of the lab what it always does"
    assert mini.record()[-1]["exit_status"] == exits.PASSED
    said = json.loads((mini.last / "summary.json").read_text())
    assert (said["verdict"], said["news"]["tolerated"]) == ("failed", True)
    with opened(mini.last.parent / "history.sqlite") as history:
        assert [past.good for past in history.runs("mini")] == [False, False]
    assert mini.pytest("-m", "acceptance")[0] == exits.FAILED, "unless it is asked for"
    assert mini.pytest(*NEW, "-x")[0] == exits.FAILED, "what comes after it was not looked at"
    assert "Failed before, too: `stage two`" in (mini.last / "summary.md").read_text()
    assert "<dt>Failed before, too</dt><dd><code>stage two</code></dd>" in _page(mini)
    # What is no test of ours is in no record, and is never known.
    (mini.folder / "test_other.py").write_text(
        'import pytest\n\n@pytest.mark.clause("x")\ndef test_other():\n    assert 0\n'
    )
    assert mini.pytest(*NEW)[0] == exits.FAILED


def _page(mini: Mini) -> str:
    return (mini.last / "report.html").read_text("utf-8")


def test_a_history_that_cannot_be_read_lets_nothing_pass(tmp_path: Path) -> None:
    mini = _mini(tmp_path / "m")
    (mini.folder / "reports" / "runs" / "history.sqlite").mkdir(parents=True)
    assert mini.pytest(*NEW)[0] == exits.HARNESS_ERROR
