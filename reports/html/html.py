"""The qualification report: one page that needs nothing but itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from reports.html import figures
from reports.html.headline import SEVERITIES, headline
from reports.html.page import rendered
from reports.record import basis, verdict
from reports.record.figures import figures as measured
from reports.record.figures import quantity
from reports.record.integrity import Integrity
from reports.record.inventory import inventory
from reports.record.measures import figure
from reports.record.record import KEPT, STAND_IN, Record, Test
from reports.texts.texts import TEXTS, counted, translator
from reports.texts.words import NOT_COVERED


@dataclass(frozen=True)
class Clause:
    """A clause of the guide, and the tests of this run that speak of it."""

    id: str
    section: str
    title: str
    deviation: str
    not_assessed: str  # why it cannot be, on a target like this one
    tests: tuple[Test, ...]

    @property
    def proved(self) -> bool:
        """Whether at least one test asserted on it, and all of them passed."""
        return bool(self.tests) and all(test.status == "passed" for test in self.tests)


@dataclass(frozen=True)
class Row:
    """A test as the report shows it."""

    test: Test
    given: Sequence[basis.FactBlock]
    commands: Sequence[basis.Command]


def page(record: Record, integrity: Integrity, language: str = "en", base: str = "") -> str:
    """The report as HTML. `language` is one of `reports.texts.texts.LANGUAGES`.

    `base` leads from where the page is to lie to the run's folder.
    """
    text = translator(language)
    record = integrity.of(record)
    found = basis.fact_blocks(record)
    rows = [Row(t, basis.facts_for(t, found), basis.commands(t, record)) for t in record.tests]
    return rendered(
        "report.html.j2",
        language,
        base=base,
        record=record,
        headline=headline(record, text),
        counted=lambda key, count: counted(text, key, count),
        integrity=integrity,
        parts=[(_named(p, language), p["state"], p["says"]) for p in record.parts],
        stood_in={
            suite: [_named(p, language) for p in record.parts if _stands_in(p, suite)]
            for suite in {p["suite"] for p in record.parts}
        },
        inventory=[(item.label[language], item.value) for item in inventory(record)],
        model=_answer(record, language),
        measured=measured(record),
        quantity=quantity,
        words=language,
        figure=lambda name: figure(name, text),
        baseline=record.facts.get("baseline"),
        findings=_findings(record, language),
        outcomes={"failed": "undo_failed", KEPT: "kept_change"},
        found=found,
        failed_command=record.first_failure and basis.last_command(record.first_failure, record),
        rows=sorted(rows, key=lambda row: _ATTENTION.index(row.test.outcome)),
        not_covered=[text(key) for key in NOT_COVERED],
        anchors={test.nodeid: f"test-{n}" for n, test in enumerate(record.tests, 1)},
        **_verdicts(record),
        **_pictures(record, text),
        **_covered(record, language),
    )


_ATTENTION = ("error", "failed", "skipped", "passed")  # what is looked at first, of outcomes


def _named(part: Mapping[str, Any], language: str) -> str:
    return str(part["name" if language == "en" else "zh"])


def _stands_in(part: Mapping[str, Any], suite: str) -> bool:
    return (part["suite"], part["state"]) == (suite, STAND_IN)


def _verdicts(record: Record) -> dict[str, object]:
    return {
        "overall": verdict.overall(record),
        "run_level_reasons": verdict.run_level_reasons(record),
        "capabilities": verdict.capabilities(record),
        "rules": verdict.RULES,
    }


def _pictures(record: Record, text: Callable[[str], str]) -> dict[str, object]:
    return {
        "timeline": figures.timeline(record, text),
        "topology": figures.topology(record, text),
    }


def _covered(record: Record, language: str) -> dict[str, object]:
    clauses = _clauses(record, language)
    return {
        "clauses": clauses,
        "clause_ids": [clause.id for clause in clauses],
        "proved": sum(clause.proved for clause in clauses),
        "deviations": [clause for clause in clauses if clause.deviation],
    }


def _clauses(record: Record, language: str) -> list[Clause]:
    """The guide's clauses as the record lists them; also those that only tests name."""
    named = dict.fromkeys(name for test in record.tests for name in test.clauses)
    target = str(record.profile["target"]["kind"])
    return [
        Clause(
            id=name,
            section=str(clause.get("section", "")),
            title=_in_language(clause, "title", language) or "",
            deviation=_in_language(clause, "deviation", language) or "",
            not_assessed=(_in_language(clause, "not_assessed", language) or {}).get(target, ""),
            tests=tuple(test for test in record.tests if name in test.clauses),
        )
        for name in dict.fromkeys([*record.clauses, *named])
        for clause in [record.clauses.get(name, {})]
    ]


def _in_language(clause: Mapping[str, Any], key: str, language: str) -> Any:
    """The text of a clause under a key, in the language where it has one."""
    zh = clause.get("zh" if key == "title" else f"{key}_zh") if language == "zh" else None
    return zh or clause.get(key)


def _findings(record: Record, language: str) -> list[Mapping[str, Any]]:
    """The security findings, the most severe first, and of these the ones of this very lab."""
    text = translator(language)
    found = [
        {**one, "text": text(f"finding_{one['id']}").format(text=one["text"])}
        if f"finding_{one['id']}" in TEXTS
        else one
        for one in record.facts.get("security_findings", [])
    ]
    return sorted(found, key=lambda f: (SEVERITIES.index(f["severity"]), not f.get("here", True)))


def _answer(record: Record, language: str) -> list[tuple[str, str]]:
    """Question, answer and speed as (label, value), as far as the record has them."""
    answered = [one for one in record.shown if one.place == "answer" and one.value is not None]
    text = translator(language)
    ends = {one.field: one.value for one in answered if one.field.endswith(".finish_reason")}
    found = []
    for one in answered:
        said = _shown(one.value)
        fact, _, field = one.field.rpartition(".")
        if field == "finish_reason" and f"ended_{said}" in TEXTS:
            said = text(f"ended_{said}")
        elif field == "text" and ends.get(f"{fact}.finish_reason") == "length":
            said = text("noted").format(what=said, more=text("cut_at_max_tokens"))
        found.append((one.label[language], said))
    return found


def _shown(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(map(_shown, value))
    return f"{value:.4g}" if isinstance(value, float) else str(value)
