"""The exit statuses, and what a run leaves behind with each; docs/commands.md has their table."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness import exits
from reports import documents
from reports.__main__ import main
from reports.history.history import opened
from tests.sample import during
from tests.unit.mini import PLUGINS, REPORTS, ROOT, Mini

DOCUMENTS = {"record.jsonl", *documents.NAMES}
NOWHERE = {
    "ACCEPT_TARGET__KIND": "ssh",
    "ACCEPT_TARGET__ADDRESS": "ssh://root@127.0.0.1:1",  # nobody listens on port 1
}


def _mini(folder: Path, two: Callable[[Any], None] = during.nothing) -> Mini:
    return Mini(folder, two, plugins=[*PLUGINS, REPORTS])


@pytest.mark.parametrize("page", ["docs/commands.md", "docs/zh/commands.md"])
def test_the_page_has_every_status(page: str) -> None:
    rows = re.findall(r"^\| (\d+) \|", (ROOT / page).read_text("utf-8"), re.M)
    ours = {value for value in vars(exits).values() if isinstance(value, int)}
    assert {int(row) for row in rows} == ours


def test_a_run_that_failed_leaves_all_documents(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    mini = _mini(tmp_path / "m", during.find_no_card)
    status, out = mini.pytest("-m", "acceptance", "--baseline", "last-good")
    assert status == exits.FAILED
    folder = mini.last.resolve()
    assert {path.name for path in folder.iterdir()} == DOCUMENTS | {"evidence"}
    said = out[out.index("\n", out.rindex(" verdict ")) :].splitlines()
    assert max(map(len, said)) <= 80
    assert said[-2:] == [
        "verdict          failed: a test failed, or the host could not be put back",
        f"report: reports/runs/{folder.name}/report.html",
    ], "the verdict is the last thing on the screen"
    assert any(line.startswith("mini ") and "failed" in line for line in said)
    assert "first failure: stage 'two'" in said
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
    assert "the waiver of ann for 'x' names no figure of this lab" in out
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
