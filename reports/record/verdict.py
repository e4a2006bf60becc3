"""The verdict of a run, per capability: the rules are tried in the order of RULES.

A capability is what one suite proves of the lab.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

from harness import exits
from harness.record.revision import CHANGED
from harness.record.trace import NOT_ASSESSED
from reports.record.record import NOT_SEEN, Record, Test, suite_of
from reports.texts.texts import translator

QUALIFIED, CONDITIONAL, FAILED = "qualified", "conditional", "failed"
REHEARSED = "rehearsed"  # with a stand-in: nothing is said of hardware
VOID = "void"  # the record was altered
ORDER = (QUALIFIED, CONDITIONAL, REHEARSED, NOT_ASSESSED, FAILED, VOID)  # the worst is last

RULES = ORDER[::-1]  # the first that applies; texts.py says them

BAD = ("failed", "error", "blocked")
WHOLE = (exits.PASSED, exits.FAILED, exits.REGRESSION)  # with these a run has come to its end


@dataclass(frozen=True)
class Reason:
    """A sentence: a key of `reports.texts.texts`, and the values of its placeholders."""

    key: str
    values: tuple[tuple[str, str], ...] = ()

    @staticmethod
    def of(key: str, **values: object) -> Reason:
        return Reason(key, tuple((name, str(value)) for name, value in values.items()))

    def sentence(self, text: Callable[[str], str]) -> str:
        """The sentence in the language of a translator."""
        return text(self.key).format(**dict(self.values))

    def __str__(self) -> str:
        return self.sentence(translator("en"))


@dataclass(frozen=True)
class Verdict:
    """The verdict on one capability, or on the whole run, and the reasons for it."""

    name: str
    verdict: str
    reasons: tuple[Reason, ...]
    counts: Counter[str]

    def sentences(self, text: Callable[[str], str] | None = None) -> list[str]:
        """The reasons in the language of a translator, by default in English; each once."""
        words = text or translator("en")
        return list(dict.fromkeys(reason.sentence(words) for reason in self.reasons))


@lru_cache(maxsize=1)  # each document asks, for the same record
def capabilities(record: Record) -> tuple[Verdict, ...]:
    """One verdict per suite, in the order of the clauses; also for one of which no test ran."""
    suites: dict[str, list[Test]] = {}
    for clause in record.clauses:  # the guide's order
        suites.setdefault(clause.partition(".")[0], [])
    for nodeid in record.collected.get("tests", ()):
        suites.setdefault(suite_of(nodeid), [])
    for test in record.tests:
        suites.setdefault(test.suite, []).append(test)
    return tuple(_judge(name, tests, record) for name, tests in suites.items())


def overall(record: Record) -> Verdict:
    """The verdict on the run: the worst of its capabilities and of `run_level_reasons`."""
    parts = capabilities(record)
    more = run_level_reasons(record)
    reasons = [reason for _, reason in more]
    reasons += [Reason("standins")] if record.standins else []
    reasons += [
        Reason.of(f"part_{part.verdict}", name=part.name)
        for part in parts
        if part.verdict not in (QUALIFIED, VOID)
    ]
    verdicts = [part.verdict for part in parts] or [NOT_ASSESSED]
    worst = max([*verdicts, *(verdict for verdict, _ in more)], key=ORDER.index)
    total = sum((part.counts for part in parts), Counter[str]())
    return Verdict("overall", worst, tuple(reasons), total)


def run_level_reasons(record: Record) -> list[tuple[str, Reason]]:
    """(verdict, reason) for the run as a whole: a host not put back, a run that was stopped, ..."""
    return [*_integrity(record), *_ending(record), *_baseline(record)]


def _integrity(record: Record) -> Iterator[tuple[str, Reason]]:
    if record.altered:
        yield VOID, Reason("altered")
    commit = record.start.get("commit")
    if not commit or str(commit).endswith(CHANGED):
        yield CONDITIONAL, Reason("harness_changed")


def _ending(record: Record) -> Iterator[tuple[str, Reason]]:
    if record.end is None:
        yield NOT_ASSESSED, Reason("cut_off")
        return
    status = record.exit_status
    if record.end["undo_failed"] or record.end["error"]:
        yield FAILED, Reason("not_put_back")
    elif status == exits.INTERRUPTED:
        yield NOT_ASSESSED, Reason("interrupted")
    elif status not in WHOLE:
        yield NOT_ASSESSED, Reason.of("ended_with", status=status)
    elif status == exits.FAILED and not any(test.status in BAD for test in record.tests):
        yield NOT_ASSESSED, Reason("failed_besides")
    if record.end["kept"]:
        yield CONDITIONAL, Reason("kept")


def _baseline(record: Record) -> Iterator[tuple[str, Reason]]:
    found = record.facts.get("baseline", {})
    if found.get("regression"):
        yield CONDITIONAL, Reason("worse")
    for row in found.get("measures", ()):
        if row["state"] == "waived":
            waiver = row.get("waiver") or {"owner": "?", "reason": "?", "expires": "?"}
            names = ("owner", "reason", "expires")
            yield (
                CONDITIONAL,
                Reason.of("waived_figure", what=row["name"], **{n: waiver[n] for n in names}),
            )


def _judge(name: str, tests: Sequence[Test], record: Record) -> Verdict:
    counts = Counter(test.status for test in tests)
    if record.altered:
        return Verdict(name, VOID, (), counts)
    bad = [_reason(test, record) for test in tests if test.status in BAD]
    gaps = [*_gaps(name, tests, record)]
    limits = [_reason(t, record) for t in tests if t.status in _LIMITS and not _host_closed(t)]
    limits += _unseen(name, record)
    if bad:
        return Verdict(name, FAILED, tuple(dict.fromkeys([*bad, *gaps])), counts)
    if gaps or not counts["passed"]:
        return Verdict(name, NOT_ASSESSED, tuple(dict.fromkeys([*gaps, *limits])), counts)
    best = REHEARSED if record.standins else CONDITIONAL if limits else QUALIFIED
    return Verdict(name, best, tuple(dict.fromkeys(limits)), counts)


_LIMITS = (NOT_ASSESSED, "expected failure", "unexpected pass")


def _unseen(name: str, record: Record) -> Iterator[Reason]:
    """The parts of a suite of which the run could not tell whether they are real."""
    if not record.parts:
        yield Reason("parts_unknown")
    unseen = [p for p in record.parts if p["suite"] == name and p["state"] == NOT_SEEN]
    if unseen:
        en, zh = (", ".join(part[key] for part in unseen) for key in ("name", "zh"))
        yield Reason.of("parts_unseen", en=en, zh=zh)


def _gaps(name: str, tests: Sequence[Test], record: Record) -> Iterator[Reason]:
    """Why a suite was not assessed as a whole."""
    if "tests" not in record.collected:
        yield Reason("collected_unknown")
    there = {nodeid for nodeid in record.collected.get("tests", ()) if suite_of(nodeid) == name}
    if missing := there - {test.nodeid for test in tests}:
        yield Reason.of("not_run", count=len(missing), all=len(there))
    if only := [n for n in record.collected.get("only", ()) if suite_of(n) == name]:
        yield Reason.of("asked_only", only=", ".join(only))
    proved = {clause for test in record.tests for clause in test.clauses}
    mine = [clause for clause in record.clauses if clause.partition(".")[0] == name]
    if (open_ := [clause for clause in mine if clause not in proved]) and not missing:
        yield Reason.of("no_tests_of", clauses=", ".join(open_))
    for test in tests:
        if test.status == "skipped":
            yield Reason.of("skipped_test", test=test.name, why=test.cause[0])
        elif _host_closed(test):
            yield Reason.of("own_words", en=test.cause[0], zh=test.cause[0])


def _host_closed(test: Test) -> bool:
    """Whether a test was not assessed since the host was not there, or refused the run."""
    own = test.message.startswith(f"{NOT_ASSESSED}: ")  # its own word for what a target cannot show
    return test.status == NOT_ASSESSED and not own


def _reason(test: Test, record: Record) -> Reason:
    """Why a test did not pass. Tests blocked by one stage share one reason, which names it."""
    if test.status == "blocked":
        return Reason.of("own_words", en=test.cause[0], zh=test.cause[0])
    if test.status == NOT_ASSESSED:
        said = test.cause[0].removeprefix(f"{NOT_ASSESSED}: ")
        known = [record.clauses.get(clause, {}) for clause in test.clauses]
        target = record.profile["target"]["kind"]
        zh = next(filter(None, (c.get("not_assessed_zh", {}).get(target) for c in known)), said)
        return Reason.of("not_assessed_for", en=said, zh=zh)
    if test.status == "unexpected pass":
        return Reason.of("passed_though", test=test.name, why=test.message or "-")
    if test.status == "expected failure":
        return Reason.of("failed_as_expected", test=test.name, why=test.message or "-")
    return Reason.of("said_by", test=test.subject if test.stage else test.name, why=test.cause[0])
