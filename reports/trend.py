"""The trend page: how the runs of each lab went over time, and why the newest failure did."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from reports import divergence, figures
from reports.bands import Band, band, least
from reports.divergence import Divergence
from reports.history import History, Past
from reports.page import environment, language_tag
from reports.texts import translator

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
    """A measure over the newest runs, and the band of the good ones; None where they are few."""

    name: str
    values: list[float]
    usual: Band | None

    @property
    def left(self) -> bool:
        """Whether the newest value is out of its band, on whichever side."""
        usual, newest = self.usual, self.values[-1]
        return usual is not None and not usual.low <= newest <= usual.high


@dataclass(frozen=True)
class Lab:
    """All that the page says of one lab."""

    name: str
    count: int
    runs: list[Past]
    divergence: Divergence | None
    tests: list[TestTrend]
    figures: list[Figure]
    picture: str


def page(history: History, language: str = "en", last: int = LAST) -> str:
    """The page as HTML, for every lab in the history."""
    text = translator(language)
    labs = [_lab(history, n, name, last, text) for n, name in enumerate(history.labs())]
    template = environment().get_template("trend.html.j2")
    return template.render(language=language_tag(language), t=text, labs=labs)


def _lab(history: History, number: int, name: str, last: int, text: Callable[[str], str]) -> Lab:
    runs = history.runs(name, last)
    outcomes = history.outcomes(name, last)
    measured = _figures(history, name, runs, last)
    tests = [_test(nodeid, statuses) for nodeid, statuses in outcomes.items()]
    return Lab(
        name=name,
        count=history.count(name),
        runs=runs,
        divergence=divergence.newest(history, name, last),
        tests=sorted(tests, key=lambda test: (-test.flips, test.rate, test.nodeid)),
        figures=measured,
        picture=figures.charts(
            [(f.name, f.values, f.usual) for f in measured], f"trend-{number}", text("measures")
        ),
    )


def _test(nodeid: str, statuses: Sequence[str]) -> TestTrend:
    ran = [status for status in statuses if status not in ("blocked", "not assessed")]
    fine = [status == "passed" for status in ran]
    flips = sum(one != two for one, two in itertools.pairwise(fine))
    rate = sum(fine) / len(fine) if fine else 0.0
    return TestTrend(nodeid, rate, flips, statuses[-1], len(ran))


def _figures(history: History, lab: str, runs: Sequence[Past], last: int) -> list[Figure]:
    good = {run.id for run in runs if run.good}
    return [
        Figure(
            name=name,
            values=[value for _, value in points],
            usual=band([value for run, value in points if run in good], least(name)),
        )
        for name, points in history.measures(lab, last).items()
    ]
