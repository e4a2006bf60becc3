"""Measures over time: one small chart per measure, run by run, on its band."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from reports.history.bands import Band
from reports.html import drawing

COLOURS = {"good": "#0550ae", "failed": "#b3261e", "waived": "#8a5a00"}  # of runs, and of figures
MARKS = {"good": ".", "failed": "x", "waived": "d"}
COLUMNS = 2


@dataclass(frozen=True)
class Dot:
    """The value of one run; `place` is the run's own among all that are shown."""

    place: int
    value: float
    kind: str  # 'good', 'failed' (the run was) or 'waived' (the figure is)


@dataclass(frozen=True)
class Chart:
    """A figure by its name in the page's language; `usual` is None where too few runs are good."""

    label: str
    dots: Sequence[Dot]
    usual: Band | None


def draw(charts: Sequence[Chart], days: Sequence[str], title: str) -> str:
    """All of them as SVG, '' where there is none; `days` are those of the runs, in their order."""
    if not charts:
        return ""
    rows = -(-len(charts) // COLUMNS)
    margins = drawing.Margins(left=0.5, bottom=0.3, right=0.35, top=0.3)
    figure, grid = drawing.figure(9, 1.7 * rows, margins, rows, COLUMNS)
    for axes, chart in zip(grid.flat, charts, strict=False):
        _chart(axes, chart, days)
    for axes in list(grid.flat)[len(charts) :]:
        axes.axis("off")
    return drawing.svg(figure, "trend", title)


def _chart(axes: Any, chart: Chart, days: Sequence[str]) -> None:
    if chart.usual:
        axes.axhspan(chart.usual.low, chart.usual.high, color="#dafbe1")
        axes.axhline(chart.usual.middle, color="#116329", linewidth=0.8)
    places, values = [d.place for d in chart.dots], [d.value for d in chart.dots]
    axes.plot(places, values, "-", color=drawing.LINE, linewidth=0.8)
    for kind, colour in COLOURS.items():
        dots = [(dot.place, dot.value) for dot in chart.dots if dot.kind == kind]
        if dots:
            axes.plot(*zip(*dots, strict=True), MARKS[kind], color=colour, markersize=5)
    axes.set_title(chart.label, fontsize=9, loc="left")
    axes.margins(y=0.12)
    axes.set_ylim(bottom=0)
    last = len(days) - 1
    axes.set_xlim(-0.5, last + 0.5)  # the same for all: a run stands above itself
    ticks = sorted({0, last // 2, last})
    axes.set_xticks(ticks, [days[tick] for tick in ticks], fontsize=7)
    drawing.bare(axes, "top", "right")
