"""The documents of a run: each says what the record says, and nothing else."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from reports.formats import junit, ocp
from reports.record.reading import load
from reports.record.record import Record, RecordError
from tests.unit import records

MIXED = {
    "bound": ("passed", ""),
    "group": ("error", "Stage 'gpu' failed: no <GPU> & no \x1b[31mgroup.\nhint: look"),
    "viable": ("skipped", 'stage "gpu" failed: no <GPU>'),
    "suites/test_platform.py::test_tee": ("skipped", "not assessed: no such silicon"),
}


@pytest.fixture
def failed(tmp_path: Path) -> Record:
    """A run with a test of every kind, and evidence."""
    return records.write(tmp_path / "run 1", MIXED, evidence=["failure", "dmesg"], exit_status=1)


def test_junit_keeps_to_what_jenkins_reads(failed: Record) -> None:
    """The rules of junit-10.xsd as far as we use it; no schema is at hand in a unit test."""
    root = ET.fromstring(junit.document(failed))
    assert (root.tag, [suite.tag for suite in root], root.attrib) == (
        *("testsuites", ["testsuite", "testsuite"]),
        {},
    )
    for suite in root:
        assert set(suite.attrib) <= {
            *("name", "tests", "failures", "errors", "skipped", "time", "timestamp", "hostname")
        }
    counted = [
        [suite.attrib[key] for key in ("name", "tests", "failures", "errors", "skipped")]
        for suite in root
    ]
    assert counted == [["lab.gpu", "3", "0", "1", "1"], ["lab.platform", "1", "0", "0", "1"]]
    assert [child.tag for child in root[0]] == ["properties"] + 3 * ["testcase"]
    for case in root.iter("testcase"):
        assert set(case.attrib) == {"name", "classname", "time"}
        assert {child.tag for child in case} <= {"error", "failure", "skipped", "system-out"}
    assert {(s.get("type"), s.get("message")) for s in root.iter("skipped")} == {
        ("blocked", 'stage "gpu" failed: no <GPU>'),
        ("not assessed", "not assessed: no such silicon"),
    }
    said = "\n".join(out.text or "" for out in root.iter("system-out"))
    assert "clause: gpu.bind" in said
    paths = [line[13:-2] for line in said.splitlines() if line.startswith("[[ATTACHMENT|")]
    assert len(paths) == 2
    assert all(Path(path).is_file() for path in paths)
    properties = {p.get("name"): p.get("value") for p in root.iter("property")}
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
    verdicts = [step["diagnosis"]["verdict"] for step in steps if "diagnosis" in step]
    assert verdicts == [f"gpu.bind-{word}" for word in ("pass", "fail", "blocked", "not-assessed")]
    assert len([step for step in steps if "file" in step]) == 2


def test_the_cause_of_an_assertion_is_what_pytest_marks(tmp_path: Path) -> None:
    trace = "def test_x():\n>   assert 1 == 2, 'one'\nE   AssertionError: one\nE   assert 1 == 2\n"
    record = records.write(tmp_path / "r", {"x": ("failed", trace)}, exit_status=1)
    assert record.first_failure is not None
    assert record.first_failure.cause == ("AssertionError: one", "assert 1 == 2")


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
