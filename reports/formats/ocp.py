"""ocp.jsonl: the run in the OCP Test & Validation format, written by OCP's own library.

Checked against json_spec/output of opencomputeproject/ocp-diag-core up to 5708d0c, the revision
that ocptv names as the one it implements (version 2.0).
"""

from __future__ import annotations

import json
from datetime import datetime
from urllib.parse import quote

import ocptv.output as tv
from ocptv.output.step import TestStep

from harness import exits
from harness.record.facts import Kind
from harness.record.trace import NOT_ASSESSED
from reports.record import verdict
from reports.record.inventory import inventory
from reports.record.measures import host, measures, more_is_better, units
from reports.record.record import Event, Record, Stage, Test

_RESULTS = {
    verdict.QUALIFIED: tv.TestResult.PASS,
    verdict.CONDITIONAL: tv.TestResult.PASS,  # a warning says under which conditions
    verdict.REHEARSED: tv.TestResult.NOT_APPLICABLE,
    verdict.VOID: tv.TestResult.NOT_APPLICABLE,
    verdict.FAILED: tv.TestResult.FAIL,
    NOT_ASSESSED: tv.TestResult.NOT_APPLICABLE,
}
_SOFTWARE: dict[Kind, tv.SoftwareType] = {
    "system": tv.SoftwareType.SYSTEM,
    "software": tv.SoftwareType.UNSPECIFIED,
}
_DIAGNOSES = {"passed": tv.DiagnosisType.PASS, "skipped": tv.DiagnosisType.UNKNOWN}
_WORDS = {"passed": "pass", "failed": "fail", "error": "fail"}  # OCP's, of a diagnosis
_INCOMPLETE = (exits.INTERRUPTED, exits.HARNESS_ERROR, exits.UNREACHABLE, exits.REFUSED, None)


class _Lines(tv.Writer):
    """Keeps what the library writes, with the time of the event that it tells of.

    The library itself takes the time of writing.
    """

    def __init__(self) -> None:
        self.time = ""
        self.lines: list[str] = []

    def write(self, buffer: str) -> None:
        line = json.loads(buffer)
        self.lines.append(json.dumps(line | {"timestamp": self.time}))


def document(record: Record, base: str = "") -> str:
    """The file's content: a step each stage and test, in the order in which they ended.

    `base` leads to the run's folder from where the file is to lie.
    """
    out = _Lines()
    out.time = _time(record.start)
    tv.config(writer=out)
    run = tv.TestRun(
        name="passthrough-acceptance",
        version=str(record.start.get("commit") or "unknown"),
        command_line=str(record.start.get("command") or ""),
        parameters={"run": record.id, "profile_sha256": str(record.start.get("profile_digest"))},
    )
    dut, gpu = _device(record)
    run.start(dut=dut)
    if record.standins:
        text = f"stand-ins, which can never qualify hardware: {', '.join(record.standins)}"
        run.add_log(tv.LogSeverity.WARNING, text, source_location=None)
    _steps(record, run, out, gpu, base)
    out.time = _time(record.events[-1])
    whole = verdict.overall(record)
    for reason in whole.sentences():
        run.add_log(tv.LogSeverity.INFO, reason, source_location=None)
    complete = record.exit_status not in _INCOMPLETE and not record.altered
    status = tv.TestStatus.COMPLETE if complete else tv.TestStatus.ERROR
    run.end(status=status, result=_RESULTS[whole.verdict])
    return "".join(f"{line}\n" for line in out.lines)


def _steps(
    record: Record, run: tv.TestRun, out: _Lines, gpu: tv.dut.HardwareInfo | None, base: str
) -> None:
    stages = {stage.name: stage for stage in record.stages}
    tests = {test.nodeid: test for test in record.tests}
    ends = {e["nodeid"]: e for e in record.kind("test")}  # of each test the last event
    begun: dict[str, TestStep] = {}
    for event in record.events:
        out.time = _time(event)
        if event["kind"] == "stage" and event["state"] == "started":
            begun[event["name"]] = run.add_step(f"stage {event['name']}")
            begun[event["name"]].start()
        elif event["kind"] == "stage" and event["name"] in begun:
            _stage(begun.pop(event["name"]), stages[event["name"]])
        elif event["kind"] == "test" and ends[event["nodeid"]] is event:
            _test(run.add_step(event["nodeid"]), tests[event["nodeid"]], gpu, base)
    for step in begun.values():  # the record ends within them
        step.end(status=tv.TestStatus.ERROR)
    step = run.add_step("measures")
    unit = units(record)
    with step.scope():
        for name, value in measures(record).items():
            limits = _validators(record, name)
            step.add_measurement(name=name, value=value, unit=unit[name], validators=limits)


def _validators(record: Record, name: str) -> list[tv.Validator]:
    """What is usual of a figure, as far as `--baseline` held the run against it."""
    rows = {row["name"]: row for row in record.facts.get("baseline", {}).get("measures", ())}
    row = rows.get(name, {"low": None, "state": ""})
    if row["low"] is None:
        return []
    kind, value = tv.ValidatorType.LESS_THAN_OR_EQUAL, row["high"]
    if more_is_better(name):
        kind, value = tv.ValidatorType.GREATER_THAN_OR_EQUAL, row["low"]
    said = "usual (waived)" if row["state"] == "waived" else "usual"
    return [tv.Validator(name=said, type=kind, value=value)]


def _stage(step: TestStep, stage: Stage) -> None:
    step.add_measurement(name="duration", value=stage.seconds, unit="s")
    if stage.state != "ok":
        step.add_error(symptom=stage.state, message=stage.error or None, source_location=None)
    good = stage.state == "ok"
    step.end(status=tv.TestStatus.COMPLETE if good else tv.TestStatus.ERROR)


def _test(step: TestStep, test: Test, gpu: tv.dut.HardwareInfo | None, base: str) -> None:
    step.start()
    step.add_measurement(name="duration", value=test.seconds, unit="s")
    found = _DIAGNOSES.get(test.outcome, tv.DiagnosisType.FAIL)
    found = tv.DiagnosisType.UNKNOWN if test.status == NOT_ASSESSED else found
    for about in test.clauses or (test.suite,):
        step.add_diagnosis(
            found,
            verdict=f"{about}-{_WORDS.get(test.status, test.status.replace(' ', '-'))}",
            message=test.message.strip() or None,
            hardware_info=gpu if test.suite == "gpu" else None,
            source_location=None,
        )
    for path in test.evidence:
        step.add_file(name=path.rpartition("/")[2], uri=f"{base}{quote(path)}")
    skipped = test.outcome == "skipped"
    step.end(status=tv.TestStatus.SKIP if skipped else tv.TestStatus.COMPLETE)


def _device(record: Record) -> tuple[tv.Dut, tv.dut.HardwareInfo | None]:
    """The lab host as the device under test; also its GPU, where one was found."""
    name = str(record.profile["name"])
    dut = tv.Dut(id=host(record) or name, name=name)
    dut.add_platform_info(f"target {record.profile['target']['kind']}")
    for part in record.parts:
        dut.add_platform_info(f"part {part['name']}: {part['state']}: {part['says']}")
    items = inventory(record)
    for item in items:
        if item.kind in ("host", "hardware"):
            dut.add_platform_info(f"{item.name}: {item.value}")
        elif kind := _SOFTWARE.get(item.kind):
            dut.add_software_info(name=item.name, version=item.value, type=kind)
    device = {item.kind: item.value for item in items}
    if "device address" not in device:
        return dut, None
    gpu = dut.add_hardware_info(
        name=device.get("device name", "GPU"),
        location=device["device address"],
        serial_no=device.get("device serial"),
    )
    return dut, gpu


def _time(event: Event) -> str:
    return datetime.fromisoformat(event["time"]).isoformat(timespec="milliseconds")
