"""The pictures of a report."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from harness.record.devices import GuestDevice, HostDevice
from reports.html import topology as topologies
from reports.html.drawing import INK, PAPER, SOFT, Margins, bare, figure, svg
from reports.html.topology import Topology
from reports.record.record import Record

Text = Callable[[str], str]

COLOURS = {"ok": "#1a7f37", "failed": "#b3261e", "interrupted": "#8a5a00", "started": "#8a5a00"}
DEVICE, PORT = "#ddf4ff", "#f6f8fa"
ROW, HEAD, GAP = 0.8, 0.4, 0.25  # heights: a device, a frame's name, what is between groups


@dataclass(frozen=True)
class Span:
    """What is a bar of the timeline; `how` is '' of what is no stage."""

    name: str
    at: float
    seconds: float
    colour: str = SOFT
    how: str = ""


def timeline(record: Record, text: Text) -> str:
    """When each stage, and what else takes long, ran and how long; '' where there was no stage."""
    if not record.stages:
        return ""
    found = sorted(spans(record, text), key=lambda span: span.at)
    margins = Margins(left=1.3, bottom=0.5, right=0.3)
    made, axes = figure(9, 0.7 + 0.34 * len(found), margins)
    for row, span in enumerate(found):
        axes.barh(row, max(span.seconds, 0.3), left=span.at, color=span.colour, height=0.6)
        label = text("seconds_of").format(value=f"{span.seconds:.0f}")
        if span.how:
            label = text("noted").format(what=label, more=text(span.how))
        axes.annotate(
            label, (span.at + span.seconds, row), (4, 0), textcoords="offset points", va="center"
        )
    axes.set_yticks(range(len(found)), [span.name for span in found])
    axes.invert_yaxis()
    axes.set_xlim(0, max(record.seconds, 1.0) * 1.18)
    axes.set_xlabel(text("axis_time"))
    bare(axes, "top", "right", "left")
    axes.tick_params(axis="y", length=0)
    return svg(made, "timeline", text("timeline"))


def spans(record: Record, text: Text) -> Iterator[Span]:
    """What takes long in a run, in no order."""
    yield Span(text("span_host"), 0.0, record.stages[0].at)
    for stage in record.stages:
        colour = COLOURS[stage.state]
        yield Span(stage.name, stage.at, stage.seconds, colour, stage.how or stage.state)
    for fact in record.kind("fact"):  # an answer, which says how long it took
        for one in fact.get("shown", ()):
            if one["field"] == f"{fact['name']}.seconds":
                yield Span(fact["name"], fact["at"] - one["value"], one["value"])
    # Some is undone during the run, such as the start of the container without a GPU.
    looked = max(event["at"] for kind in ("stage", "test") for event in record.kind(kind))
    undone = [e for e in record.kind("undo") if e["run"] == record.id and e["at"] > looked]
    if undone:
        begun = undone[0]["at"] - undone[0]["seconds"]
        yield Span(text("span_undo"), begun, undone[-1]["at"] - begun)


def topology(record: Record, text: Text) -> str:
    """Which device of the host is which of the guest; '' where no group is known."""
    found = topologies.topology(record)
    if not found.groups:
        return ""
    rows = sum(len(members) for members in found.groups.values())
    left = rows * ROW + len(found.groups) * (HEAD + GAP)
    height = max(left, len(found.inner) * ROW + GAP) + HEAD
    made, axes = figure(9, 0.75 * height + 0.2, Margins())
    axes.set_xlim(0, 100)
    axes.set_ylim(0, height + 0.1)
    axes.axis("off")
    _frame(axes, 1, 43, height, text("pic_host"))
    _frame(axes, 48, 51, height, text("pic_guest"))
    ends = _groups(axes, found, height - HEAD, text)
    _guest(axes, found, height - HEAD, ends, text)
    return svg(made, "topology", text("topology"))


def _groups(axes: Any, found: Topology, top: float, text: Text) -> dict[str, float]:
    """Draw each group from the top down; where each device's box has its middle, by address."""
    ends = {}
    for number, members in found.groups.items():
        bottom = top - HEAD - len(members) * ROW
        _box(axes, 3, bottom, 39, top - bottom, PAPER)
        label = text("pic_group").format(number=number)
        axes.text(22.5, top - HEAD / 2, label, ha="center", va="center", fontsize=8)
        for place, member in enumerate(members):
            y = top - HEAD - (place + 1) * ROW
            _box(axes, 5, y + 0.06, 35, ROW - 0.12, DEVICE, _member(member))
            ends[member.bdf] = y + ROW / 2
        top = bottom - GAP
    return ends


def _guest(axes: Any, found: Topology, top: float, ends: dict[str, float], text: Text) -> None:
    for place, device in enumerate(found.inner):
        y = ends.get(device.host, top - GAP - (place + 0.5) * ROW)
        _box(axes, 67, y - ROW / 2 + 0.06, 30, ROW - 0.12, DEVICE, _device(device, text))
        if not device.host:
            continue
        start = 40.0
        if device.port:
            label = text("pic_root_port").format(id=device.port)
            _box(axes, 50, y - 0.22, 13, 0.44, PORT, label)
            _arrow(axes, 40, 50, y)
            start = 63.0
        _arrow(axes, start, 67, y)


def _member(member: HostDevice) -> str:
    return f"{member.bdf}\n{member.vendor}:{member.device}  {member.driver}"


def _device(device: GuestDevice, text: Text) -> str:
    lines = [f"{device.bdf}  {device.vendor}:{device.device}", device.name]
    if not device.host:
        lines.append(text("pic_unpaired"))
    return "\n".join(filter(None, lines))


def _frame(axes: Any, x: float, width: float, height: float, label: str) -> None:
    _box(axes, x, 0.03, width, height, PAPER)
    at = (x + width / 2, height - HEAD / 2)
    axes.text(*at, label, ha="center", va="center", fontsize=9, fontweight="bold", color=INK)


def _box(
    axes: Any, x: float, y: float, width: float, height: float, colour: str, label: str = ""
) -> None:
    from matplotlib.patches import FancyBboxPatch

    style = "round,pad=0,rounding_size=0.08"
    axes.add_patch(
        FancyBboxPatch((x, y), width, height, boxstyle=style, facecolor=colour, edgecolor=SOFT)
    )
    if label:
        at = (x + width / 2, y + height / 2)
        axes.text(*at, label, ha="center", va="center", fontsize=7.5, linespacing=1.3)


def _arrow(axes: Any, x: float, to_x: float, y: float) -> None:
    axes.annotate("", (to_x, y), (x, y), arrowprops={"arrowstyle": "->", "color": SOFT})
