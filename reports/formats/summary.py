"""The outcome of a run in few words: summary.json for programs, some lines for a terminal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from harness.record.trace import NOT_ASSESSED
from reports.formats.columns import cut, wrapped
from reports.record import verdict
from reports.record.basis import last_command
from reports.record.figures import figures
from reports.record.measures import host, measures
from reports.record.record import KEPT, LEFT, Record, Test

FORMAT = 1  # of summary.json
WIDTH = 80  # columns of a terminal
RESIDUE = (KEPT, LEFT, "failed")  # outcomes of changes that are still on the host
CAUSE_LINES = 4  # of the first failure's message
SEVERITIES = ("high", "medium", "low")
MEANS = {  # half a sentence for each verdict; the report has the whole rules
    verdict.QUALIFIED: "every test ran on real parts and passed",
    verdict.CONDITIONAL: "no test failed, but something is open",
    verdict.REHEARSED: "no test failed, on stand-ins: no word on hardware",
    NOT_ASSESSED: "not all of it was looked at",
    verdict.FAILED: "a test failed, or the host could not be put back",
    verdict.VOID: "the record is not as the run wrote it",
}


def document(record: Record) -> dict[str, Any]:
    """The content of summary.json."""
    whole, failure = verdict.overall(record), record.first_failure
    return {
        "format": FORMAT,
        "id": record.id,
        "lab": record.profile["name"],
        "host": host(record),
        "commit": record.start.get("commit"),
        "profile_sha256": record.start.get("profile_digest"),
        "started": record.started.isoformat(),
        "ended": record.end and record.end["time"],
        "seconds": record.seconds,
        "verdict": whole.verdict,
        "reasons": whole.sentences(),
        "exit_status": record.exit_status,
        "exit_name": record.exit_name or None,
        "standins": list(record.standins),
        "parts": [{key: part[key] for key in ("name", "state", "says")} for part in record.parts],
        "findings": list(record.facts.get("security_findings", [])),
        "host_kept": bool(record.end and record.end["kept"]),
        "residue": [
            {"stage": change.stage, "what": change.what, "outcome": change.outcome}
            for change in record.changes
            if change.outcome in RESIDUE
        ],
        "tests": dict(whole.counts),
        "capabilities": [
            {
                "name": part.name,
                "verdict": part.verdict,
                "tests": dict(part.counts),
                "reasons": part.sentences(),
            }
            for part in verdict.capabilities(record)
        ],
        "first_failure": failure
        and {
            "test": failure.nodeid,
            "stage": failure.stage or None,
            "message": failure.message,
        },
        "measures": measures(record),
        "figures": [
            {
                "id": one.id,
                "value": one.value,
                "unit": one.unit,
                "expected": one.expected,
                "ratio": one.ratio,
            }
            for one in figures(record)
        ],
        "news": record.facts.get("news"),
        "baseline": record.facts.get("baseline"),
        "record_sha256": record.digest,
    }


def lines(record: Record) -> Iterator[str]:
    """One line per capability, findings, the first failure, the verdict with what it means.

    None is wider than WIDTH.
    """
    for part in verdict.capabilities(record):
        counts = ", ".join(f"{count} {status}" for status, count in part.counts.items())
        yield cut(f"{part.name:<16} {part.verdict:<13} {counts or 'nothing ran'}", WIDTH)
    yield from _findings(record)
    if failure := record.first_failure:
        yield from wrapped(f"first failure: {failure.subject}", WIDTH, "  ")
        for line in _cause(failure, record):
            yield from wrapped(f"  {line}", WIDTH, "  ")
    for line in _news(record):
        yield from wrapped(line, WIDTH, "  ")
    for line in record.facts.get("baseline", {}).get("said", []):
        yield from wrapped(f"baseline: {line}", WIDTH, "  ")
    whole = verdict.overall(record)
    if record.standins:
        names = ", ".join(record.standins)
        yield from wrapped(f"parts of the lab are stand-ins: {names}", WIDTH, "  ")
    for _, reason in verdict.run_level_reasons(record):
        yield from wrapped(str(reason), WIDTH, "  ")
    said = f"{'verdict':<16} {whole.verdict}: {MEANS[whole.verdict]}"
    yield from wrapped(said, WIDTH, " " * 17)


def _news(record: Record) -> Iterator[str]:
    """What had not failed when it was last looked at, what had, and what fails no more."""
    news = record.facts.get("news")
    if news is None:
        return
    if news["failures"] and not news["earlier"]:
        yield "there is no earlier run of this lab: every failure is a new one"
    for kind, names in (("new failures", "failures"), ("new passes", "passes")):
        if news[names]:
            yield f"{kind}: {', '.join(news[names])}"
    if known := news["known"]:
        let = ", which do not fail this run (--fail-on new)" if news["tolerated"] else ""
        yield f"failed before, too: {', '.join(known)}{let}"
    if "baseline" not in record.facts:  # which says it
        for one in news["slower"]:
            said = f"{one['value']:g}, usually {one['low']:g} to {one['high']:g}"
            yield f"worse than usual: {one['name']} is {said}"


def _findings(record: Record) -> Iterator[str]:
    """How many security findings there are of each severity, those of this very lab alone."""
    found = Counter(
        one["severity"]
        for one in record.facts.get("security_findings", [])
        if one.get("here", True)
    )
    if found:
        by_severity = ", ".join(f"{found[one]} {one}" for one in SEVERITIES if found[one])
        yield f"security findings: {by_severity} (the report has them)"


def _cause(failure: Test, record: Record) -> Iterator[str]:
    """The beginning of a failure's message, its hint, and what ran last on the host."""
    yield from failure.cause[:CAUSE_LINES]
    yield from (line for line in failure.cause[CAUSE_LINES:] if line.startswith("hint: "))
    if ran := last_command(failure, record):
        how = "cut off" if ran.rc < 0 else f"exit status {ran.rc}"
        yield f"last command, {how} after {ran.seconds:.0f} s: {ran.line}"
