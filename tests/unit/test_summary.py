"""What a run says on a terminal: in its columns, and nothing that would steer it."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from rich.cells import cell_len

from harness import exits
from reports.formats import columns, junit, summary
from reports.record import verdict
from reports.record.record import Record
from tests.unit import kept, records
from tests.unit.mini import PLUGINS, REPORTS, Mini

LONG = "机密容器是一种" * 20
STEERS = "E   \x1b[31mred\x1b[0m \x1b]0;title\x07and \x9b1mbell\x07, tab\tend \x1b(Bof it"


def test_no_line_is_wider_than_a_terminal(tmp_path: Path) -> None:
    run = records.write(tmp_path / "run", {LONG: ("failed", f"E   {LONG}")}, exit_status=1)
    for record in (run, kept.passed(), kept.failed()):
        lines = list(summary.lines(record))
        assert max(map(cell_len, lines)) <= 80
    assert LONG[:20] in "".join(line.strip() for line in summary.lines(run))


def test_a_text_is_wrapped_by_its_columns() -> None:
    assert list(columns.wrapped("one two three", 8, "  ")) == ["one two", "  three"]
    assert list(columns.wrapped("机密容器是一种", 8, "")) == ["机密容器", "是一种"]
    assert list(columns.wrapped("  a 机密容器", 8, "  ")) == ["  a", "  机密容", "  器"]
    assert columns.cut("机密容器", 5) == "机密"


def test_nothing_steers_the_terminal(tmp_path: Path) -> None:
    run = records.write(tmp_path / "run", {"x": ("failed", STEERS)}, exit_status=1)
    text = "\n".join(summary.lines(run))
    assert "  red and bell, tab end of it" in text
    assert not [c for c in text if c != "\n" and (ord(c) < 32 or 127 <= ord(c) < 160)]


COMMAND = {"out": "", "err": "", "out_bytes": 0, "err_bytes": 0}
BROKEN = {
    "name": "gpu",
    "state": "failed",
    "seconds": 1.0,
    "error": "Stage 'gpu' failed: no card\nhint: put one in",
}


@pytest.fixture
def failed(tmp_path: Path) -> Record:
    tests = {
        "bound": ("passed", ""),
        "group": ("error", "Stage 'gpu' failed: no <GPU>"),
        "viable": ("skipped", 'stage "gpu" failed: no <GPU>'),
        "suites/test_platform.py::test_tee": ("skipped", "not assessed: no such silicon"),
    }
    return records.write(tmp_path / "run", tests, exit_status=1)


def test_what_it_says(failed: Record) -> None:
    lines = list(summary.lines(failed))
    assert "gpu              failed        1 passed, 1 error, 1 blocked" in lines
    assert "platform         not assessed  1 not assessed" in lines
    assert f"first failure: {records.NODE}group" in lines
    assert "  Stage 'gpu' failed: no <GPU>" in lines
    assert lines[-1] == "verdict          failed: a test failed, or the host could not be put back"


def test_findings_are_counted_by_severity() -> None:
    lines = list(summary.lines(kept.passed()))
    assert "security findings: 2 medium, 1 low (the report has them)" in lines
    assert lines[-1] == (
        "verdict          rehearsed: no test failed, on stand-ins: no word on hardware"
    )


def test_the_first_failure_has_its_hint_and_its_command(tmp_path: Path) -> None:
    message = "\n".join(["Stage 'gpu' failed: no card", *"abcd", "hint: put one in"])
    ran = {"stage": "gpu", "line": "lspci -nn", "rc": 1, "seconds": 2.0, "error": None}
    tests = {"group": ("error", message)}
    events = [
        ("stage", {"name": "gpu", "state": "started"}),
        ("command", {**COMMAND, **ran}),
        ("stage", {**BROKEN, "error": message}),
    ]
    run = records.write(tmp_path / "run", tests, stages={}, events=events, exit_status=1)
    lines = list(summary.lines(run))
    assert "  hint: put one in" in lines
    assert "  last command, exit status 1 after 2 s: lspci -nn" in lines


def test_a_stages_failure_is_the_stages(tmp_path: Path) -> None:
    tests = {"group": ("error", f"{BROKEN['error']}\nload: 1"), "x": ("error", "another's")}
    events = [("stage", {"name": "gpu", "state": "started"}), ("stage", BROKEN)]
    run = records.write(tmp_path / "run", tests, stages={}, events=events, exit_status=1)
    assert [test.stage for test in run.tests] == ["gpu", ""]
    lines = list(summary.lines(run))
    assert "first failure: stage 'gpu'" in lines
    assert not [line for line in lines if f"{records.NODE}group" in line]
    assert summary.document(run)["first_failure"]["stage"] == "gpu"
    (part,) = verdict.capabilities(run)
    assert "stage 'gpu': Stage 'gpu' failed: no card" in part.sentences()
    names = [case.get("name") for case in ET.fromstring(junit.document(run)).iter("testcase")]
    assert names == ["stage 'gpu'", "test_x"]


def test_a_run_can_ask_for_its_report_in_chinese(tmp_path: Path) -> None:
    mini = Mini(tmp_path / "m", plugins=[*PLUGINS, REPORTS])
    mini.pytest("-m", "acceptance", "--report-lang", "zh")
    assert '<html lang="zh-CN">' in (mini.last / "report.html").read_text("utf-8")


def test_a_verdict_comes_after_an_internal_error_too(tmp_path: Path) -> None:
    mini = Mini(tmp_path / "m", plugins=[*PLUGINS, REPORTS, "tests.sample.strikes"])
    status, out = mini.pytest("-m", "acceptance", environ={"MINI_STRIKES": "an internal error"})
    assert status == exits.HARNESS_ERROR
    assert "INTERNALERROR" in out
    last = out[out.rindex("INTERNALERROR") :].splitlines()
    assert "the run did not end as it should: exit status 3" in last
    assert last[-2] == "verdict          not assessed: not all of it was looked at"
    assert last[-1].startswith("report: reports/runs/")
