"""The picture of a run's time: lanes of bars, drawn by the page's own template as SVG."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from reports.html import told
from reports.html.page import rendered
from reports.record.record import Record
from reports.record.timeline import OWN, Act, Timeline, timeline
from reports.texts.texts import translator

WIDTH, LEFT, TOP = 1400.0, 90.0, 24.0  # of the picture; the lanes' names; the axis
ROW, HIGH, GAP = 17.0, 13.0, 10.0  # a row, a bar, what is between lanes
LETTER = 6.2  # width of a letter, about
LANES = {"stage": ("stage",), "job": ("job",), "command": ("command", "question")}
LANES |= {"test": ("test",), "undo": ("undo",)}
NAMED = ("stage", "job")  # bars with their name beside them
STEPS = (1, 2, 5, 10, 20, 60, 120, 300, 600, 1800, 3600, 7200, 21600, 86400)
MOST = 12  # marks of the axis

Text = Callable[[str], str]


@dataclass(frozen=True)
class Bar:
    """One act: its place, and what is said of it."""

    x: float
    y: float
    width: float
    css: str
    title: str
    name: str = ""


@dataclass(frozen=True)
class Lane:
    """Acts of a kind, in as many rows as they need."""

    name: str
    y: float
    bars: Sequence[Bar]


@dataclass(frozen=True)
class Link:
    """From a job's end to where the runner looked at it; `waited`: it did nothing else."""

    x: float
    y: float
    to_x: float
    to_y: float
    waited: bool


@dataclass(frozen=True)
class Picture:
    """All that is drawn, in units of the picture."""

    width: float
    height: float
    lanes: Sequence[Lane]
    links: Sequence[Link]
    ticks: Sequence[tuple[float, int]]  # where, and the seconds


def page(record: Record, language: str = "en") -> str:
    """The page as HTML, which needs nothing but itself."""
    text, found = translator(language), timeline(record)
    return rendered(
        "timeline.html.j2",
        language,
        record=record,
        heading=told.heading(found, text),
        path=told.path(found, text),
        waits=told.waits(found, text),
        picture=picture(found, text),
        left=LEFT,
        high=HIGH,
    )


def picture(found: Timeline, text: Text) -> Picture:
    """Where each bar stands."""
    scale = (WIDTH - LEFT) / max(found.seconds, 1.0)
    lanes, at = [_path(found, scale, text)], TOP + ROW + GAP
    places: dict[Act, tuple[float, float]] = {}  # where an act's bar ends
    for kind, kinds in LANES.items():
        acts = [act for act in found.acts if act.kind in kinds]
        rows = _rows(acts, scale if kind in NAMED else 0.0)
        bars = []
        for act, row in zip(acts, rows, strict=True):
            bar = _bar(act, at + row * ROW, scale, text)
            places[act] = (bar.x + bar.width, bar.y + HIGH)
            bars.append(bar)
        lanes.append(Lane(text(f"tl_lane_{kind}"), at, bars))
        at += (max(rows, default=0) + 1) * ROW + GAP
    commands = next(lane.y for lane in lanes if lane.name == text("tl_lane_command"))
    links = [
        Link(*places[wait.job], LEFT + wait.seen * scale, commands, wait.seconds > 0)
        for wait in found.waits
        if not wait.served
    ]
    step = next((s for s in STEPS if found.seconds / s <= MOST), STEPS[-1])
    ticks = [(LEFT + s * scale, s) for s in range(0, int(found.seconds) + 1, step)]
    return Picture(WIDTH, at, lanes, links, ticks)


def _path(found: Timeline, scale: float, text: Text) -> Lane:
    """The critical path: what of it is the host's, and what nobody's."""
    bars = []
    for step in found.path:
        for one in step.segments:
            what = told.segment(one.kind, one.name, text)
            title = _title(told.owner(step.owner, text), what, one.seconds, text)
            css = one.kind if one.kind == OWN else "on"
            x = LEFT + one.begin * scale
            bars.append(Bar(x, TOP, one.seconds * scale, css, title))
    return Lane(text("tl_lane_path"), TOP, bars)


def _rows(acts: Sequence[Act], scale: float) -> list[int]:
    """The row of each, so that no two overlap; with a scale, no names either."""
    ends: list[float] = []
    found = []
    for act in acts:
        row = next((n for n, end in enumerate(ends) if end <= act.begin), len(ends))
        room = (len(act.name) + 2) * LETTER / scale if scale else 0.0
        ends[row : row + 1] = [max(act.end, act.begin + room)]
        found.append(row)
    return found


def _bar(act: Act, y: float, scale: float, text: Text) -> Bar:
    what = told.segment(act.kind, act.name, text)
    name = act.name if act.kind in NAMED else ""
    title = _title(told.owner(act.owner, text), what, act.seconds, text)
    x, width = LEFT + act.begin * scale, max(act.seconds * scale, 0.6)
    return Bar(x, y, width, f"{act.kind} {act.state.replace(' ', '-')}", title, name)


def _title(owner: str, what: str, seconds: float, text: Text) -> str:
    took = text("seconds_of").format(value=f"{seconds:.1f}")
    return text("comma").join(dict.fromkeys([owner, what, took]))
