"""The qualification report: one page that needs nothing but itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from reports.html import figures
from reports.html.page import environment, language_tag
from reports.record import basis, verdict
from reports.record.integrity import Integrity
from reports.record.inventory import inventory
from reports.record.measures import figure
from reports.record.record import KEPT, Record, Test
from reports.texts.texts import TEXTS, translator


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
    return (
        environment()
        .get_template("report.html.j2")
        .render(
            language=language_tag(language),
            t=text,
            base=base,
            record=record,
            integrity=integrity,
            parts=[
                (p["name" if language == "en" else "zh"], p["state"], p["says"])
                for p in record.parts
            ],
            inventory=[(item.label[language], item.value) for item in inventory(record)],
            model=_answer(record, language),
            figure=lambda name: figure(name, text),
            baseline=record.facts.get("baseline"),
            findings=_findings(record, language),
            outcomes={"failed": "undo_failed", KEPT: "kept_change"},
            found=found,
            failed_command=record.first_failure
            and basis.last_command(record.first_failure, record),
            rows=[
                Row(t, basis.facts_for(t, found), basis.commands(t, record)) for t in record.tests
            ],
            anchors={test.nodeid: f"test-{n}" for n, test in enumerate(record.tests, 1)},
            **_verdicts(record),
            **_pictures(record, text),
            **_covered(record, language),
        )
    )


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
    """The security findings, those of this very lab and the most severe first."""
    order = ("high", "medium", "low")
    text = translator(language)
    found = [
        {**one, "text": text(f"finding_{one['id']}").format(text=one["text"])}
        if f"finding_{one['id']}" in TEXTS
        else one
        for one in record.facts.get("security_findings", [])
    ]
    return sorted(found, key=lambda f: (not f.get("here", True), order.index(f["severity"])))


def _answer(record: Record, language: str) -> list[tuple[str, str]]:
    """Question, answer and speed as (label, value), as far as the record has them."""
    answered = [one for one in record.shown if one.place == "answer" and one.value is not None]
    return [(one.label[language], _shown(one.value)) for one in answered]


def _shown(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
