"""The exit statuses, and what a run leaves behind with each; README has their table."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from harness import exits
from harness.host.command import HostUnreachable
from harness.outcome import Outcome
from harness.run.stage import StageFailed
from harness.undo.journal import Entry
from harness.undo.undo import UndoResult
from reports.__main__ import main
from reports.history.history import opened
from tests.unit.mini import CONFTEST, ROOT, Mini
from tests.unit.records import CONFTEST_PLUGINS

DOCUMENTS = {"record.jsonl", "junit.xml", "report.html", "summary.json", "ocp.jsonl"}
NO_CARD = 'from harness.errors import LabError; raise LabError("No card.", hint="put one in")'
NOWHERE = {
    "ACCEPT_TARGET__KIND": "ssh",
    "ACCEPT_TARGET__ADDRESS": "ssh://root@127.0.0.1:1",  # nobody listens on port 1
}

LEFT = UndoResult("run", Entry(1, "gpu", "bind", (("true",),), None, False), "failed")


def _mini(folder: Path, two: str = "pass") -> Mini:
    return Mini(folder, two=two, conftest=CONFTEST.replace(*CONFTEST_PLUGINS))


UNREACHABLE, REFUSED, REGRESSION = (
    {name: True} for name in ("unreachable", "refused", "regression")
)
RESIDUE, ERROR = {"undo_error": "why"}, {"harness_errors": ["why"]}


@pytest.mark.parametrize(
    ("pytest_status", "found", "status"),
    [
        (0, {}, exits.PASSED),
        (1, {}, exits.FAILED),
        (5, {}, exits.NO_TESTS),
        (0, REGRESSION, exits.REGRESSION),
        (1, REGRESSION, exits.FAILED),
        (1, ERROR, exits.HARNESS_ERROR),
        (2, ERROR, exits.INTERRUPTED),
        (2, RESIDUE | ERROR, exits.RESIDUE),
        (0, {"undo": [LEFT]}, exits.RESIDUE),
        (1, UNREACHABLE | RESIDUE | ERROR | REFUSED, exits.UNREACHABLE),
        (1, REFUSED, exits.REFUSED),
        (2, REFUSED, exits.INTERRUPTED),
    ],
)
def test_the_most_urgent_status_counts(
    pytest_status: int, found: dict[str, Any], status: int
) -> None:
    assert Outcome(pytest_status, **found).exit_status == status


def test_only_the_first_failure_makes_a_host_unreachable() -> None:
    lost = HostUnreachable("gone")
    for errors, unreachable in (
        ([lost], True),
        ([StageFailed("gpu", lost)], True),
        ([KeyError(), lost], False),
        ([], None),
    ):
        outcome = Outcome()
        for error in errors:
            outcome.note_first_failure(error)
        assert outcome.unreachable is unreachable


@pytest.mark.parametrize("readme", ["README.md", "README.zh-CN.md"])
def test_the_readme_has_every_status(readme: str) -> None:
    rows = re.findall(r"^\| (\d+) \|", (ROOT / readme).read_text(), re.M)
    ours = {value for value in vars(exits).values() if isinstance(value, int)}
    assert {int(row) for row in rows} == ours


def test_a_run_that_failed_leaves_all_documents(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    mini = _mini(tmp_path / "m", NO_CARD)
    status, out = mini.pytest("-m", "acceptance", "--baseline", "last-good")
    assert status == exits.FAILED
    folder = mini.last.resolve()
    assert {path.name for path in folder.iterdir()} == DOCUMENTS | {"evidence"}
    said = out[out.index("\n", out.rindex(" verdict ")) :].splitlines()
    assert max(map(len, said)) <= 80
    assert said[-2:] == [
        "verdict          failed",
        f"report: reports/runs/{folder.name}/report.html",
    ], "the verdict is the last thing on the screen"
    assert any(line.startswith("mini ") and "failed" in line for line in said)
    assert "first failure: test_mini.py::test_two" in said
    assert "  Stage 'two' failed: No card." in said
    assert "baseline: 0 of 1 figures held against 0 good runs; a band takes 3" in said
    summary = json.loads((folder / "summary.json").read_text())
    assert (summary["verdict"], summary["exit_status"]) == ("failed", 1)
    with opened(folder.parents[1] / "runs" / "history.sqlite") as history:
        assert [(run.id, run.cause) for run in history.runs("mini")] == [
            (folder.name, "Stage 'two' failed: No card.")
        ]
    mini.record()
    monkeypatch.setattr("sys.argv", ["reports", "render", str(folder)])
    assert main() == 0, capsys.readouterr().err


def test_a_document_that_cannot_be_written_is_an_error_of_the_harness(tmp_path: Path) -> None:
    mini = _mini(tmp_path / "m")
    (mini.folder / "reports" / "runs" / "history.sqlite").mkdir(parents=True)
    status, out = mini.pytest("-m", "acceptance")
    assert status == exits.HARNESS_ERROR
    assert "REPORTS: HistoryError: " in out
    assert "5 passed" in out
    assert mini.made() == []
    assert mini.record()[-1]["exit_status"] == 0, "the run itself was good"
    assert (mini.last / "report.html").exists()


def test_an_expired_waiver_fails_a_run_with_a_baseline_alone(tmp_path: Path) -> None:
    mini = _mini(tmp_path / "m")
    profile = mini.folder / "profiles" / "vlab.toml"
    waiver = '[[waiver]]\nwhat = "x"\nowner = "ann"\nreason = "why"\nexpires = 2020-01-31\n'
    profile.write_text(f"{profile.read_text()}\n{waiver}")
    status, out = mini.pytest("-m", "acceptance", "--baseline", "last-good")
    assert status == exits.REGRESSION
    assert "baseline: expired: the waiver of ann for 'x' ended on 2020-01-31 (why)" in out
    assert mini.record()[-1]["exit_status"] == exits.REGRESSION
    assert "conditional" in out
    status, out = mini.pytest("-m", "acceptance", "-k", "free")
    assert status == exits.PASSED
    profile.write_text(profile.read_text().replace('owner = "ann"\n', ""))
    status, out = mini.pytest("-m", "acceptance")
    assert status == exits.USAGE
    assert "waiver.0.owner: expected a value, found nothing" in out


def test_a_host_that_cannot_be_reached(tmp_path: Path) -> None:
    mini = _mini(tmp_path / "m")
    status, out = mini.pytest("-m", "acceptance", environ=NOWHERE)
    assert status == exits.UNREACHABLE
    assert "cannot be reached" in out
    assert mini.record()[-1]["exit_status"] == exits.UNREACHABLE
    assert {path.name for path in mini.last.iterdir()} >= DOCUMENTS
    status, out = mini.pytest("--recover", environ=NOWHERE)
    assert status == exits.UNREACHABLE


def test_a_run_that_was_refused_has_assessed_nothing(tmp_path: Path) -> None:
    mini = _mini(tmp_path / "m")
    assert mini.pytest("-m", "acceptance", "--keep", "always")[0] == exits.PASSED
    status, out = mini.pytest("-m", "acceptance")
    assert status == exits.REFUSED
    assert "still has what run" in out
    assert len(mini.made()) == 3
    assert mini.record()[-1]["exit_status"] == exits.REFUSED
    summary = json.loads((mini.last / "summary.json").read_text())
    assert (summary["verdict"], summary["exit_status"]) == ("not assessed", exits.REFUSED)
