"""The trend page: how the runs of a lab went over time, and why the newest failure did."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from reports.history import charts, divergence
from reports.history.bands import Band, band, least
from reports.history.divergence import Divergence
from reports.history.history import History, HistoryError, Past
from reports.html.page import rendered
from reports.record.measures import figure
from reports.texts.texts import TEXTS, translator

WHOLE = "run_seconds"  # a run's own time, which has no band: some are of part of the suites
LAST = 200  # runs of a lab that the page looks at


@dataclass(frozen=True)
class TestTrend:
    """One test over the newest runs; `flips` counts the changes between passed and not."""

    nodeid: str
    rate: float
    flips: int
    latest: str
    ran: int


@dataclass(frozen=True)
class Figure:
    """A measure over the newest runs, and the band of the good ones before the newest that has it.

    `usual` is None where those are few.
    """

    name: str
    dots: list[charts.Dot]
    usual: Band | None

    @property
    def newest(self) -> float:
        return self.dots[-1].value

    @property
    def left(self) -> bool:
        """Whether the newest value is worse than its band."""
        return self.usual is not None and self.usual.left_by(self.name, self.newest)


@dataclass(frozen=True)
class Lab:
    """All that the page says of one lab."""

    name: str
    count: int
    runs: list[Past]
    divergence: Divergence | None
    elsewhere: int  # runs whose end says nothing of the lab
    tests: list[TestTrend]
    figures: list[Figure]
    picture: str


def page(
    history: History,
    language: str = "en",
    lab: str | None = None,
    last: int = LAST,
    base: str = "",
    there: Callable[[str], bool] = lambda run: True,
) -> str:
    """The page of one lab as HTML, by default of the one that ran last; it names the others.

    `base` leads from where it is to lie to the folder of the runs, whose reports it links to, of
    those that are still `there`. Raises HistoryError for a lab that there is none of.
    """
    text = translator(language)
    labs, labels = history.labs(), history.labels() if language == "zh" else {}
    if lab is not None and lab not in labs:
        raise HistoryError(f"There are no runs of lab '{lab}', but of: {', '.join(labs)}.")
    name = lab or next(iter(labs), None)
    return rendered(
        "trend.html.j2",
        language,
        base=base,
        there=there,
        figure=lambda name: figure(name, text),
        label=lambda name: _condition(name, labels, text),
        lab=name and _lab(history, name, last, text),
        others=[(other, history.count(other)) for other in labs if other != name],
    )


def _condition(name: str, labels: Mapping[str, str], text: Callable[[str], str]) -> str:
    """A condition in the page's language; a value of the profile by its key."""
    key = f"condition_{name}"
    return text(key) if key in TEXTS else labels.get(name, name)


def _lab(history: History, name: str, last: int, text: Callable[[str], str]) -> Lab:
    runs = history.runs(name, last)
    outcomes = history.outcomes(name, last)
    measured = _figures(history, name, runs, last)
    tests = [_test(nodeid, statuses) for nodeid, statuses in outcomes.items()]
    days = [run.started[:10] for run in runs]
    drawn = [charts.Chart(figure(f.name, text), f.dots, f.usual) for f in measured]
    return Lab(
        name=name,
        count=history.count(name),
        runs=runs,
        divergence=divergence.newest(history, name, last),
        elsewhere=sum(run.exit_status in divergence.ELSEWHERE for run in runs),
        tests=sorted(tests, key=lambda test: (not test.ran, -test.flips, test.rate, test.nodeid)),
        figures=measured,
        picture=charts.draw(drawn, days, text("measures")),
    )


def _test(nodeid: str, statuses: Sequence[str]) -> TestTrend:
    ran = [status for status in statuses if status not in ("blocked", "not assessed", "skipped")]
    fine = [status == "passed" for status in ran]
    flips = sum(one != two for one, two in itertools.pairwise(fine))
    rate = sum(fine) / len(fine) if fine else 0.0
    return TestTrend(nodeid, rate, flips, statuses[-1], len(ran))


def _figures(history: History, lab: str, runs: Sequence[Past], last: int) -> list[Figure]:
    good = {run.id for run in runs if run.good}
    place = {run.id: number for number, run in enumerate(runs)}
    whole = [
        charts.Dot(place[run.id], run.seconds, _kind(run.good))
        for run in runs
        if run.exit_status is not None and run.exit_status not in divergence.ELSEWHERE
    ]
    found = [Figure(WHOLE, whole, None)] if whole else []
    for name, points in history.measures(lab, last).items():
        before = [p.value for p in points[:-1] if p.run in good and not p.waived]
        dots = [
            charts.Dot(place[p.run], p.value, "waived" if p.waived else _kind(p.run in good))
            for p in points
        ]
        found.append(Figure(name, dots, band(before, least(name))))
    return found


def _kind(good: bool) -> str:
    return "good" if good else "failed"
