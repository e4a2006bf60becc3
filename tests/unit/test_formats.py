"""What other programs read keeps to their schemas: JUnit to Jenkins', OCP to the format's."""

from __future__ import annotations

import io
import json
from pathlib import Path

import jsonschema
import pytest
import xmlschema

from harness import exits
from harness.record.trace import FORMAT, KINDS
from reports.formats import junit, ocp, summary
from reports.record.integrity import check
from reports.record.record import Record
from tests.unit import kept, records
from tests.unit.mini import EVENT, ROOT

JUNIT = xmlschema.XMLSchema10(kept.DATA / "schemas" / "junit-10.xsd")
OCP = jsonschema.Draft202012Validator(
    json.loads((kept.DATA / "schemas" / "ocp.json").read_text()),
    format_checker=jsonschema.FormatChecker(),
)
SCHEMA = json.loads((ROOT / "reports" / "summary.schema.json").read_text())
SUMMARY = jsonschema.Draft202012Validator(SCHEMA, format_checker=jsonschema.FormatChecker())
EVERY = {
    "bound": ("passed", ""),
    "group": ("error", "Stage 'gpu' failed: no <GPU> & no \x1b[31mgroup.\x00"),
    "viable": ("skipped", 'stage "gpu" failed: no <GPU>'),
    "tee": ("skipped", "not assessed: no such silicon"),
    "more": ("failed", "E   ]]> 机密"),
}


@pytest.fixture(params=["passed", "failed", "every kind", "killed", "nothing"])
def run(request: pytest.FixtureRequest, tmp_path: Path) -> Record:
    """Kept records of real runs, and what they do not have."""
    if request.param == "passed":
        return kept.passed()
    if request.param == "failed":
        return kept.failed()
    tests = {} if request.param == "nothing" else EVERY
    status = None if request.param == "killed" else 1
    return records.write(tmp_path / "a run", tests, evidence=["a file"], exit_status=status)


def test_junit_keeps_to_the_schema_of_jenkins(run: Record) -> None:
    JUNIT.validate(io.BytesIO(junit.document(run)))


def test_the_schema_of_jenkins_is_in_force(run: Record) -> None:
    bad = junit.document(run).replace(b"<properties>", b"<properties><odd/>", 1)
    assert not JUNIT.is_valid(io.BytesIO(bad))


def test_ocp_keeps_to_its_schema(run: Record) -> None:
    lines = ocp.document(run).splitlines()
    for line in lines:
        OCP.validate(json.loads(line))
    assert len(lines) >= 4
    assert not OCP.is_valid(json.loads(lines[1]) | {"odd": 1})


def test_ocp_has_the_bands_as_validators(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [
        {"name": "stage gpu seconds", "low": 7.5, "high": 12.5, "state": "waived"},
        {"name": "answer tokens_per_second", "low": 0.3, "high": 0.5, "state": "ok"},
        {"name": "answer seconds", "low": None, "high": None, "state": "no band"},
    ]
    baseline = {"measures": rows, "regression": False, "said": []}
    answer = records.figures(seconds=20.0, tokens_per_second=0.4)
    run = records.write(tmp_path / "run", facts={"baseline": baseline, "answer": answer})
    lines = [json.loads(line) for line in ocp.document(run).splitlines()]
    for line in lines:
        OCP.validate(line)
    told = [line.get("testStepArtifact", {}).get("measurement", {}) for line in lines]
    assert {one["name"]: one["validators"] for one in told if one.get("validators")} == {
        "stage gpu seconds": [
            {"name": "usual (waived)", "type": "LESS_THAN_OR_EQUAL", "value": 12.5}
        ],
        "answer tokens_per_second": [
            {"name": "usual", "type": "GREATER_THAN_OR_EQUAL", "value": 0.3}
        ],
    }


CHANGE = {"run": "r", "stage": "gpu", "what": "bind", "durable": False}


def test_the_summary_names_what_is_still_on_the_host(tmp_path: Path) -> None:
    events: list[tuple[str, dict[str, object]]] = [
        ("change", CHANGE | {"id": 1, "durable": True}),
        ("change", CHANGE | {"id": 2}),
        ("change", CHANGE | {"id": 3}),
        ("undo", CHANGE | {"id": 3, "outcome": "undone", "error": None, "seconds": 0.1}),
    ]
    run = records.write(tmp_path / "run", events=events, exit_status=11, undo_failed=["bind"])
    said = summary.document(run)
    SUMMARY.validate(said)
    assert [one["outcome"] for one in said["residue"]] == ["kept", "left"]
    assert (said["exit_name"], said["host_kept"]) == ("residue", False)
    assert said["profile_sha256"] == "0" * 64
    assert said["started"] <= said["ended"]
    assert summary.document(records.write(tmp_path / "cut", exit_status=None))["ended"] is None


def test_every_exit_status_has_a_name_in_the_schema() -> None:
    named = {name for name, value in vars(exits).items() if type(value) is int}
    words = {None, *(name.lower().replace("_", " ") for name in named)}
    assert {*SCHEMA["properties"]["exit_name"]["enum"]} == words


def test_the_summary_keeps_to_its_schema(run: Record) -> None:
    SUMMARY.validate(json.loads(json.dumps(summary.document(run))))
    assert not SUMMARY.is_valid(summary.document(run) | {"odd": 1})


def test_a_kept_record_is_what_a_run_of_today_writes() -> None:
    for run in (kept.passed(), kept.failed()):
        for kind in KINDS:
            for event in [*run.kind(kind)[:4], *run.kind(kind)[-4:]]:  # all of them take long
                EVENT.validate(event)
        assert run.start["format"] == FORMAT
        assert check(run).intact
        assert {test.nodeid for test in run.tests} == {*run.collected["tests"]}
        assert any(test.fixtures and test.commands for test in run.tests)


@pytest.mark.parametrize(
    ("profile", "facts", "host"),
    [
        ({}, {"surroundings": records.host("a", "01")}, "a (01)"),
        ({"target": {"kind": "vlab"}}, {}, "vlab"),
        ({"target": {"kind": "local"}}, {}, "runner"),
        ({}, {}, "ssh://root@lab"),
    ],
)
def test_junit_says_which_host_it_was(
    tmp_path: Path, profile: dict[str, object], facts: dict[str, object], host: str
) -> None:
    run = records.write(tmp_path / "run", profile=profile, facts=facts)
    said = junit.document(run).decode()
    assert f'<property name="host" value="{host}" />' in said
