"""The qualification report: one page that needs nothing but itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from reports import figures, verdict
from reports.integrity import Integrity
from reports.inventory import inventory
from reports.page import environment, language_tag
from reports.record import KEPT, Record, Test
from reports.texts import translator

# What of the model's answer a reader wants to know: (text, fact, key).
ANSWER = (
    ("fact_answer", "answer", "text"),
    ("fact_model", "answer", "model"),
    ("fact_fingerprint", "answer", "fingerprint"),
    ("fact_seconds", "answer", "seconds"),
    ("fact_rate", "answer", "tokens_per_second"),
    ("fact_prompt_tokens", "answer", "prompt_tokens"),
    ("fact_completion_tokens", "answer", "completion_tokens"),
    ("fact_finish_reason", "answer", "finish_reason"),
    ("fact_first_token", "streamed", "first_token_seconds"),
    ("fact_streamed_seconds", "streamed", "seconds"),
    ("fact_streamed_rate", "streamed", "tokens_per_second"),
)


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
        """Whether all that was asserted of it holds, and something was."""
        return bool(self.tests) and all(test.status == "passed" for test in self.tests)


def page(record: Record, integrity: Integrity, language: str = "en") -> str:
    """The report as HTML. `language` is one of `reports.texts.LANGUAGES`."""
    text = translator(language)
    clauses = _clauses(record, language)
    return (
        environment()
        .get_template("report.html.j2")
        .render(
            language=language_tag(language),
            t=text,
            record=record,
            integrity=integrity,
            overall=verdict.overall(record),
            besides=verdict.besides(record),
            capabilities=verdict.capabilities(record),
            rules=verdict.RULES,
            inventory=inventory(record),
            timeline=figures.timeline(record, text),
            topology=figures.topology(record, text),
            clauses=clauses,
            clause_ids=[clause.id for clause in clauses],
            outcomes={"failed": "undo_failed", KEPT: "kept_change"},
            proved=sum(clause.proved for clause in clauses),
            baseline=record.facts.get("baseline"),
            deviations=[clause for clause in clauses if clause.deviation],
            findings=_findings(record),
            model=_model(record, text),
            first_failure=record.first_failure,
            anchors={test.nodeid: f"test-{n}" for n, test in enumerate(record.tests, 1)},
        )
    )


def _clauses(record: Record, language: str) -> list[Clause]:
    """The guide's clauses as the record lists them; also those that only tests name."""
    listed = record.facts.get("guide", {}).get("clauses", [])
    known: dict[str, Mapping[str, Any]] = {clause["id"]: clause for clause in listed}
    named = dict.fromkeys(name for test in record.tests for name in test.clauses)
    title = "zh" if language == "zh" else "title"
    target = str(record.profile["target"]["kind"])
    return [
        Clause(
            id=name,
            section=str(known.get(name, {}).get("section", "")),
            title=str(known.get(name, {}).get(title, "")),
            deviation=str(known.get(name, {}).get("deviation") or ""),
            not_assessed=str(known.get(name, {}).get("not_assessed", {}).get(target, "")),
            tests=tuple(test for test in record.tests if name in test.clauses),
        )
        for name in dict.fromkeys([*known, *named])
    ]


def _findings(record: Record) -> list[Mapping[str, Any]]:
    """The security findings, those of this very lab and the most severe first."""
    order = ("high", "medium", "low")
    found = record.facts.get("security_findings", [])
    return sorted(found, key=lambda f: (not f.get("here", True), order.index(f["severity"])))


def _model(record: Record, text: Callable[[str], str]) -> list[tuple[str, str]]:
    """What was asked and answered, and how quickly, as far as the record knows."""
    if "answer" not in record.facts:
        return []
    rows = [(text("fact_question"), str(record.profile.get("model", {}).get("question", "")))]
    values = [(key, record.facts.get(fact, {}).get(name)) for key, fact, name in ANSWER]
    return rows + [(text(key), str(value)) for key, value in values if value is not None]
