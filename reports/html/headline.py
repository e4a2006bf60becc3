"""The first sentences of a report: what passed, how the host was left, what was found."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator

from reports.record import verdict
from reports.record.record import KEPT, Record
from reports.texts.texts import counted

Text = Callable[[str], str]
SEVERITIES = ("high", "medium", "low")


def headline(record: Record, text: Text) -> str:
    """The outcome in a line; of an altered record, that it says nothing."""
    if record.altered:
        return text("headline_void")
    sentences = [_tests(record, text), _host(record, text), _findings(record, text)]
    if record.profile.get("container", {}).get("access") == "direct":
        sentences.append(text("inside_only"))
    return "".join(f"{sentence}{text('stop')}" for sentence in sentences).strip()


def _tests(record: Record, text: Text) -> str:
    found = verdict.overall(record).counts
    passed = text("tests_passed").format(passed=found["passed"], all=found.total())
    others = Counter({kind: count for kind, count in found.items() if kind != "passed"})
    bad = sum(found[kind] for kind in verdict.BAD)
    parts = [passed, _counts(others, text), "" if bad else text("none_failed")]
    return text("comma").join(filter(None, parts))


def _host(record: Record, text: Text) -> str:
    return text("comma").join(_left(record, text))


def _left(record: Record, text: Text) -> Iterator[str]:
    kept = sum(change.outcome == KEPT for change in record.changes)
    if record.end is None:
        yield text("host_unknown")
    elif record.end["undo_failed"] or record.end["error"]:
        yield text("host_not_back")
    elif record.end["kept"]:
        yield text("host_kept")
    elif not record.changes:
        yield text("host_unchanged")
    else:
        yield text("host_back")
        if kept:
            yield counted(text, "kept_count", kept)


def _findings(record: Record, text: Text) -> str:
    """Those of this very lab by severity, and how many come by the guide's letter alone."""
    every = record.facts.get("security_findings", ())
    here = [one["severity"] for one in every if one.get("here", True)]
    said = text("no_finding")
    if here:
        severe = Counter(sorted(here, key=SEVERITIES.index))
        what = counted(text, "findings_count", len(here))
        said = text("noted").format(what=what, more=_counts(severe, text))
    if others := len(every) - len(here):
        said += text("comma") + text("findings_others").format(count=others)
    return said


def _counts(found: Counter[str], text: Text) -> str:
    """How many there are of each status, or severity."""
    words = text("count_of")
    return text("comma").join(
        words.format(count=count, status=text(kind)) for kind, count in found.items()
    )
