"""Which runs `python -m reports prune` deletes, and what keeps the others."""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from harness.record.trace import Trace
from reports.__main__ import main
from reports.record.record import Record
from tests.unit import kept, records

BAD = {"bound": ("failed", "E   no")}
ON_ITS_HOST = "what it changed is still on its host, as far as is known here"


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """A folder of runs; none is there yet."""
    folder = tmp_path / "runs"
    folder.mkdir()
    return folder


def changed(run: str, **more: object) -> tuple[str, Mapping[str, object]]:
    """A change, for a record's events."""
    return "change", {"id": 1, "stage": "gpu", "what": "x", "durable": False, "run": run, **more}


def undone(run: str, outcome: str = "undone") -> tuple[str, Mapping[str, object]]:
    """What became of it."""
    said = {"stage": "gpu", "what": "x", "error": None, "seconds": 0.1}
    return "undo", {"id": 1, "run": run, "outcome": outcome, **said}


def pruned(
    runs: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *words: str
) -> tuple[list[str], str]:
    """What is left, and what was said."""
    monkeypatch.setattr("sys.argv", ["reports", "prune", "--runs", str(runs), *words])
    status = main()
    said = "".join(capsys.readouterr())
    assert status == 0, said
    return sorted(path.name for path in runs.iterdir() if path.is_dir()), said


@pytest.fixture
def prune(runs: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Any:
    return lambda *words: pruned(runs, capsys, monkeypatch, *words)


def test_the_newest_of_each_lab_stay(runs: Path, prune: Any) -> None:
    for name in ("1", "2", "3"):
        records.write(runs / name)
    records.write(runs / "other", profile={"name": "other"})
    (runs / "last").symlink_to("other")
    (runs / "notes").mkdir()
    left, said = prune("--keep", "2", "--dry-run")
    assert left == ["1", "2", "3", "last", "notes", "other"]
    assert said.startswith("would be deleted: 1\n")
    assert said.endswith(f"1 of 4 runs would go, and free {size(runs / '1')} MB\n")
    left, said = prune("--keep", "2")
    assert left == ["2", "3", "last", "notes", "other"], "what is no run is not touched"
    assert said.startswith("deleted: 1\n")
    assert "\n1 of 4 runs deleted, which freed " in said
    assert prune("--days", "1")[0] == left
    assert prune("--keep", "0")[0] == ["3", "last", "notes", "other"], "the last good ones"


def size(folder: Path) -> str:
    return f"{sum(one.stat().st_size for one in folder.iterdir()) / 1e6:.1f}"


def test_the_last_good_one_stays_and_what_the_trend_page_leads_to(runs: Path, prune: Any) -> None:
    for name in ("1", "2"):
        records.write(runs / name)
    for name in ("3", "4", "5"):
        records.write(runs / name, BAD, exit_status=1)
    records.write(runs / "6", exit_status=10)
    left, said = prune("--keep", "0")
    assert left == ["2", "5"]
    assert "stays: 2: it is the last good one of its lab\n" in said


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({"exit_status": None}, "it has no end: it may be going on"),
        ({"exit_status": None, "events": [changed("1")]}, ON_ITS_HOST),
        ({"kept": True, "events": [changed("1")]}, f"{ON_ITS_HOST} (--keep)"),
        ({"events": [changed("1"), undone("1", "failed")]}, ON_ITS_HOST),
    ],
)
def test_one_that_may_have_a_journal_open_stays(
    runs: Path, prune: Any, more: dict[str, Any], why: str
) -> None:
    records.write(runs / "1", **more)
    records.write(runs / "2")
    left, said = prune("--keep", "0")
    assert left == ["1", "2"]
    assert f"stays: 1: {why}\n" in said


@pytest.mark.parametrize(
    "events", [[], [changed("1"), undone("1")], [changed("1", durable=True)]], ids=len
)
def test_one_with_nothing_left_to_undo_goes(runs: Path, prune: Any, events: Any) -> None:
    records.write(runs / "1", events=events)
    records.write(runs / "2")
    assert prune("--keep", "0")[0] == ["2"]


def test_one_that_was_recovered_goes_and_so_does_the_recovery(runs: Path, prune: Any) -> None:
    records.write(runs / "1", exit_status=None, events=[changed("1")])
    records.write(runs / "2", {}, stages={}, facts={"collected": {}}, events=[undone("1")])
    for name in ("3", "4"):
        records.write(runs / name)
    assert prune("--keep", "0", "--dry-run")[0] == ["1", "2", "3", "4"]
    # Until now the newest failure was the one that was killed.
    records.write(runs / "5", BAD, exit_status=1)
    assert prune("--keep", "0")[0] == ["4", "5"]


def test_what_the_history_does_not_have_as_it_is_stays(runs: Path, prune: Any) -> None:
    for name in ("1", "2"):
        records.write(runs / name)
    prune("--keep", "2")
    shutil.rmtree(runs / "1")
    with Trace(runs / "1" / "record.jsonl"):
        pass
    records.Made(BAD, exit_status=1).write(runs / "1")
    (runs / "broken").mkdir()
    (runs / "broken" / "record.jsonl").write_text("{")
    left, said = prune("--keep", "0")
    assert left == ["1", "2", "broken"]
    assert "stays: 1: the history does not have it as it is" in said
    assert "stays: broken: its record cannot be read" in said


def test_what_was_being_deleted_goes_the_next_time(
    runs: Path, prune: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("1", "2"):
        records.write(runs / name)

    def killed(_: Path) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("shutil.rmtree", killed)
        with pytest.raises(KeyboardInterrupt):
            prune("--keep", "0")
    assert sorted(path.name for path in runs.glob("*[12]")) == [".pruned-1", "2"]
    assert prune("--keep", "0")[0] == ["2"]


def test_of_real_runs(runs: Path, prune: Any) -> None:
    for real in (kept.PASSED, kept.FAILED):
        shutil.copytree(real, runs / real.name)
    record: Record = records.write(runs / "new", profile={"name": "vlab", "target": vlab()})
    assert record.profile["name"] == "vlab"
    left, said = prune("--keep", "1")
    assert left == ["new", "run-failed"], said
    assert "stays: run-failed: it is the newest that failed of its lab" in said


def vlab() -> dict[str, object]:
    return {"kind": "vlab", "address": None}


def test_the_trend_page_leads_to_what_is_there(
    runs: Path, prune: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("1", "2"):
        records.write(runs / name)
        (runs / name / "report.html").touch()
    prune("--keep", "1")
    page = runs / "trend.html"
    where = ["--history", str(runs / "history.sqlite"), "--out", str(page)]
    monkeypatch.setattr("sys.argv", ["reports", "trend", *where])
    assert main() == 0
    assert "<code>1</code>" in page.read_text("utf-8")
    assert re.findall('href="(.*)/report.html"', page.read_text("utf-8")) == ["2", "2"]


@pytest.mark.parametrize(
    "words", [[], ["--keep", "-1"], ["--days", "ten"], ["--keep", "1", "--runs", "/nowhere"]]
)
def test_how_many_stay_has_to_be_said(
    words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["reports", "prune", *words])
    try:
        status: object = main()
    except SystemExit as end:
        status = end.code
    assert status == 2
    assert re.search("--keep N|no runs in '/nowhere'", capsys.readouterr().err)
