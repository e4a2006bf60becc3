"""The documents of a run: each says what the record says, and nothing else."""

from __future__ import annotations

import json
import subprocess
import sys
import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from pathlib import Path

import pytest

from reports import documents, html, junit, ocp, summary
from reports.integrity import check
from reports.reading import load
from reports.record import Record, RecordError
from tests.unit import records
from tests.unit.mini import ROOT

MIXED = {
    "bound": ("passed", ""),
    "group": ("error", "Stage 'gpu' failed: no <GPU> & no \x1b[31mgroup.\nhint: look"),
    "viable": ("skipped", 'stage "gpu" failed: no <GPU>'),
    "suites/test_10_platform.py::test_tee": ("skipped", "not assessed: no such silicon"),
}


@pytest.fixture
def failed(tmp_path: Path) -> Record:
    """A run with a test of every kind, and evidence."""
    return records.write(tmp_path / "run 1", MIXED, evidence=["failure", "dmesg"], exit_status=1)


class Page(HTMLParser):
    """The ids of a page, and what its elements refer to."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.references: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name == "id":
                self.ids.append(value or "")
            elif name in ("href", "src", "xlink:href", "srcset", "action", "data"):
                self.references.append(value or "")


@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_report_needs_nothing_but_itself(failed: Record, language: str) -> None:
    text = html.page(failed, check(failed), language)
    page = Page(text)
    assert len(page.ids) == len(set(page.ids))
    for reference in page.references:
        if reference.startswith("#"):
            assert reference[1:] in page.ids
        elif not reference.startswith("data:"):
            assert (failed.folder / reference).is_file()
    assert "<script" not in text
    assert "@import" not in text
    assert "no &lt;GPU&gt; &amp; no" in text


def test_a_clause_leads_to_its_tests_and_they_to_their_evidence(failed: Record) -> None:
    page = Page(html.page(failed, check(failed)))
    assert {"clause-gpu.bind", "test-2"} <= set(page.ids)
    assert "#test-2" in page.references
    evidence = [r for r in page.references if r.startswith("evidence/")]
    assert [Path(r).name for r in evidence] == ["failure.txt", "dmesg.txt"]


def test_junit_keeps_to_what_jenkins_reads(failed: Record) -> None:
    """The rules of junit-10.xsd as far as we use it; no schema is at hand in a unit test."""
    root = ET.fromstring(junit.document(failed))
    (suite,) = root
    assert (root.tag, suite.tag, root.attrib) == ("testsuites", "testsuite", {})
    assert set(suite.attrib) <= {
        *("name", "tests", "failures", "errors", "skipped", "time", "timestamp", "hostname")
    }
    counted = {key: suite.attrib[key] for key in ("tests", "failures", "errors", "skipped")}
    assert counted == {"tests": "4", "failures": "0", "errors": "1", "skipped": "2"}
    assert [child.tag for child in suite] == ["properties"] + 4 * ["testcase"]
    for case in suite.iter("testcase"):
        assert set(case.attrib) == {"name", "classname", "time"}
        assert {child.tag for child in case} <= {"error", "failure", "skipped", "system-out"}
    assert {(s.get("type"), s.get("message")) for s in suite.iter("skipped")} == {
        ("blocked", 'stage "gpu" failed: no <GPU>'),
        ("not assessed", "not assessed: no such silicon"),
    }
    said = "\n".join(out.text or "" for out in suite.iter("system-out"))
    assert "clause: gpu.bind" in said
    paths = [line[13:-2] for line in said.splitlines() if line.startswith("[[ATTACHMENT|")]
    assert len(paths) == 2
    assert all(Path(path).is_file() for path in paths)
    properties = {p.get("name"): p.get("value") for p in suite.iter("property")}
    assert properties["git commit"] == "c" * 40
    assert properties["verdict"] == "failed"


def test_ocp_tells_the_run_in_order(failed: Record) -> None:
    lines = [json.loads(line) for line in ocp.document(failed).splitlines()]
    assert [line["sequenceNumber"] for line in lines] == list(range(len(lines)))
    assert [line["timestamp"] for line in lines] == sorted(line["timestamp"] for line in lines)
    assert lines[0]["schemaVersion"] == {"major": 2, "minor": 0}
    assert "testRunStart" in lines[1]["testRunArtifact"]
    end = lines[-1]["testRunArtifact"]["testRunEnd"]
    assert end == {"status": "COMPLETE", "result": "FAIL"}
    steps = [line["testStepArtifact"] for line in lines if "testStepArtifact" in line]
    for step in {step["testStepId"] for step in steps}:
        mine = [next(k for k in s if k != "testStepId") for s in steps if s["testStepId"] == step]
        assert (mine[0], mine[-1]) == ("testStepStart", "testStepEnd")
        assert mine.count("testStepStart") == mine.count("testStepEnd") == 1
    diagnoses = [step["diagnosis"]["type"] for step in steps if "diagnosis" in step]
    assert diagnoses == ["PASS", "FAIL", "UNKNOWN", "UNKNOWN"]
    assert len([step for step in steps if "file" in step]) == 2


def test_the_summary_fits_a_terminal(failed: Record) -> None:
    lines = list(summary.lines(failed))
    assert max(map(len, lines)) <= 80
    text = "\n".join(lines)
    assert "gpu              failed        1 passed, 1 error, 1 blocked" in text
    assert "platform         not assessed  1 not assessed" in text
    assert f"first failure: {records.NODE}group" in text
    assert "Stage 'gpu' failed: no <GPU>" in text


def test_the_cause_of_an_assertion_is_what_pytest_marks(tmp_path: Path) -> None:
    trace = "def test_x():\n>   assert 1 == 2, 'one'\nE   AssertionError: one\nE   assert 1 == 2\n"
    record = records.write(tmp_path / "r", {"x": ("failed", trace)}, exit_status=1)
    assert record.first_failure is not None
    assert record.first_failure.cause == ("AssertionError: one", "assert 1 == 2")


def _render(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "reports", "render", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )


def test_rendered_elsewhere_it_says_the_same(failed: Record, tmp_path: Path) -> None:
    documents.write(failed, check(failed), tmp_path / "first")
    done = _render(str(failed.folder), "--out", str(tmp_path / "second"))
    assert done.returncode == 0, done.stderr
    for name in ("report.html", "summary.json", "ocp.jsonl", "junit.xml"):
        first, second = (tmp_path / out / name for out in ("first", "second"))
        assert first.read_bytes() == second.read_bytes(), name


@pytest.mark.parametrize(
    ("file", "old", "new", "said"),
    [
        ("record.jsonl", b'"passed"', b'"failed"', "record.jsonl line 5 is not what was written"),
        ("record.jsonl", b'"seconds": 1.0', b'"seconds": 2.0', "line 4 is not what was written"),
        ("failure.txt", b"text", b"test", "failure.txt is not what was collected"),
    ],
)
def test_what_was_altered_is_told(
    failed: Record, file: str, old: bytes, new: bytes, said: str
) -> None:
    assert check(failed).intact
    (path,) = failed.folder.rglob(file)
    path.write_bytes(path.read_bytes().replace(old, new, 1))
    found = check(load(failed.folder))
    assert said in "; ".join(found.problems)
    assert "The record or its evidence was altered." in html.page(load(failed.folder), found)


def test_what_was_cut_is_told(failed: Record) -> None:
    path = failed.folder / "record.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:2], *lines[3:]]))
    assert "line 3 is not what was written" in check(load(failed.folder)).problems[0]
    path.write_bytes(b"".join(lines[:-1]))
    assert "has no end" in check(load(failed.folder)).problems[0]
    next(failed.folder.rglob("dmesg.txt")).unlink()
    assert "dmesg.txt is missing" in check(load(failed.folder)).problems[1]


def test_an_altered_record_fails_the_command(failed: Record, tmp_path: Path) -> None:
    next(failed.folder.rglob("dmesg.txt")).write_text("other")
    done = _render(str(failed.folder), "--out", str(tmp_path / "out"))
    assert done.returncode == 1
    assert "ALTERED: " in done.stderr


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "does not begin with the start of a run"),
        ('{"kind": "run", "state": "started", "format": 99}\n', "has format 99"),
        ("no json\n", "line 1 is not JSON"),
        ('{"a": 1}\n', "line 1 is no event"),
    ],
)
def test_what_is_no_record(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "record.jsonl").write_text(text)
    with pytest.raises(RecordError, match=said):
        load(tmp_path)
