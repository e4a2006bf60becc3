"""junit.xml: what CI systems read, made from the record.

It keeps to the schema of Jenkins' xUnit plugin (junit-10.xsd), which knows properties of a suite
alone: what belongs to one test (its clauses, its evidence) stands in that test's output.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections import Counter

from harness.text import readable
from reports.record import verdict
from reports.record.inventory import inventory
from reports.record.measures import host
from reports.record.record import Record, Test

_TAGS = {"failed": "failure", "error": "error"}


def document(record: Record) -> bytes:
    """The file's content: a suite for each capability, of which a viewer shows the counts."""
    root = ET.Element("testsuites")
    found: dict[str, list[Test]] = {}
    for test in record.tests:
        found.setdefault(test.suite, []).append(test)
    for name, tests in (found or {"acceptance": []}).items():
        suite = _suite(root, record, name, Counter(test.outcome for test in tests))
        for test in tests:
            _case(suite, record, test)
    if record.altered:  # no viewer shows a property: it has to be red
        suite = _suite(root, record, "record", Counter(error=1))
        case = ET.SubElement(suite, "testcase", classname="record", name="record", time="0")
        ET.SubElement(case, "error", type=verdict.VOID, message="; ".join(record.altered))
    ET.indent(root)
    content: bytes = ET.tostring(root, encoding="utf-8", xml_declaration=True)
    return content


def _lab(record: Record) -> str:
    """The lab's name as a package of JUnit's: two labs in one CI job stay apart."""
    return str(record.profile["name"]).replace(".", "_")


def _suite(root: ET.Element, record: Record, name: str, counts: Counter[str]) -> ET.Element:
    """A suite of the lab; that its parts were stood in for is in its name."""
    suite = ET.SubElement(
        root,
        "testsuite",
        name=f"{_lab(record)}.{name}{' (stand-ins)' if record.standins else ''}",
        tests=str(counts.total()),
        failures=str(counts["failed"]),
        errors=str(counts["error"]),
        skipped=str(counts["skipped"]),
        time=f"{sum(test.seconds for test in record.tests if test.suite == name):.3f}",
        timestamp=record.started.isoformat(timespec="seconds"),
        hostname=host(record) or str(record.profile["name"]),
    )
    properties = ET.SubElement(suite, "properties")
    for key, value in _properties(record).items():
        ET.SubElement(properties, "property", name=key, value=value)
    return suite


def _properties(record: Record) -> dict[str, str]:
    """The properties of the run: lab, versions, verdict."""
    guide, target = record.facts.get("guide", {}), record.profile["target"]
    found = {
        "run": record.id,
        "lab": str(record.profile["name"]),
        "target": str(target["kind"]),
        "host": host(record) or str(target.get("address") or record.start["runner"]),
        "stand-ins": ", ".join(record.standins),
        "verdict": verdict.overall(record).verdict,
        "exit status": "" if record.exit_status is None else str(record.exit_status),
        "git commit": str(record.start.get("commit") or ""),
        "profile sha256": str(record.start.get("profile_digest") or ""),
        "guide sha256": str(guide.get("guide", {}).get("sha256", "")),
        "clauses sha256": str(guide.get("sha256", "")),
        "record sha256": record.digest,
    }
    parts = {f"part {p['name']}": f"{p['state']}: {p['says']}" for p in record.parts}
    known = {item.name: item.value for item in inventory(record)}
    return {name: value for name, value in {**found, **parts, **known}.items() if value}


def _case(suite: ET.Element, record: Record, test: Test) -> None:
    path, *names = test.nodeid.split("::")
    module = path.removesuffix(".py").replace("/", ".")
    case = ET.SubElement(
        suite,
        "testcase",
        classname=".".join([_lab(record), module, *names[:-1]]),
        name=test.subject if test.stage else test.name,
        time=f"{test.seconds:.3f}",
    )
    if test.outcome != "passed":
        # A skip's type tells what could not be assessed here from what a failed stage stands
        # behind; for Jenkins both are skipped.
        tag = _TAGS.get(test.outcome, "skipped")
        said = ET.SubElement(case, tag, type=test.status, message=test.cause[0])
        said.text = test.message
    lines = [f"clause: {name}" for name in test.clauses]
    # This form is known to Jenkins' JUnit Attachments plugin and to GitLab.
    lines += [f"[[ATTACHMENT|{(record.folder / file).resolve()}]]" for file in test.evidence]
    if lines:
        ET.SubElement(case, "system-out").text = readable("\n".join(lines))
