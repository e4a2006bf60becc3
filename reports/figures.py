"""The pictures of a report, as SVG to stand within the page."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Sequence
from typing import Any

from reports.bands import Band
from reports.record import Record

COLOURS = {"ok": "#1a7f37", "failed": "#b3261e", "interrupted": "#8a5a00", "started": "#8a5a00"}
INK, PAPER, SOFT = "#1f2328", "#ffffff", "#57606a"


def timeline(record: Record, text: Callable[[str], str]) -> str:
    """When each stage ran and how long; '' where there was none."""
    stages = record.stages
    if not stages:
        return ""
    figure, axes = _figure(9, 0.6 + 0.34 * len(stages))
    for row, stage in enumerate(stages):
        axes.barh(
            row, max(stage.seconds, 0.3), left=stage.at, color=COLOURS[stage.state], height=0.6
        )
        label = f"{stage.seconds:.0f} s" + (f" ({stage.how})" if stage.how else f" ({stage.state})")
        axes.annotate(
            label, (stage.at + stage.seconds, row), (4, 0), textcoords="offset points", va="center"
        )
    axes.set_yticks(range(len(stages)), [stage.name for stage in stages])
    axes.invert_yaxis()
    axes.set_xlim(0, max(record.seconds, 1.0) * 1.18)
    axes.set_xlabel("s")
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.tick_params(axis="y", length=0)
    return _svg(figure, "timeline", text("timeline"))


def topology(record: Record, text: Callable[[str], str]) -> str:
    """The group that was passed through: host, IOMMU group, its members, the nested machine."""
    gpu, container = record.stage("gpu"), record.stage("container")
    members = list(gpu.facts.get("members", ())) if gpu else []
    if not members:
        return ""
    rows = len(members)
    figure, axes = _figure(9, 1.1 + 0.75 * rows)
    axes.set_xlim(0, 100)
    axes.set_ylim(0, rows + 0.7)
    axes.axis("off")
    groups = ", ".join(dict.fromkeys(str(member.get("group")) for member in members))
    _box(axes, 24, 0.15, 34, rows + 0.3, f"IOMMU group {groups}")
    _box(axes, 2, rows / 2 - 0.1, 14, 0.8, "host\nPCI root", fill=True)
    _box(axes, 70, 0.15, 28, rows + 0.3, "kata guest")
    guest = _guest_devices(container.facts.get("pci", ()) if container else ())
    for row, member in enumerate(members):
        y = rows - row - 0.75
        name = f"{member.get('bdf')}\n{member.get('vendor')}:{member.get('device')}"
        _box(axes, 27, y, 28, 0.68, f"{name}  {member.get('driver') or '-'}", fill=True)
        _arrow(axes, 16, rows / 2 + 0.3, 27, y + 0.34)
        seen = guest.get((member.get("vendor"), member.get("device")))
        if seen:
            _box(axes, 73, y, 22, 0.68, f"{seen}\nin the guest", fill=True)
            _arrow(axes, 55, y + 0.34, 73, y + 0.34)
    return _svg(figure, "topology", text("topology"))


def charts(
    measures: Sequence[tuple[str, Sequence[float], Band | None]], name: str, title: str
) -> str:
    """One small chart a measure, run by run, with the band of what is usual behind it."""
    if not measures:
        return ""
    rows = (len(measures) + 1) // 2
    figure, grid = _figure(9, 1.7 * rows, rows, 2)
    for axes, (label, values, usual) in zip(grid.flat, measures, strict=False):
        if usual:
            axes.axhspan(usual.low, usual.high, color="#dafbe1")
            axes.axhline(usual.middle, color="#116329", linewidth=0.8)
        axes.plot(range(len(values)), values, ".-", color="#0550ae", linewidth=0.8, markersize=4)
        axes.set_title(label, fontsize=9, loc="left")
        axes.set_ylim(bottom=0)
        axes.set_xticks([])
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
    for axes in list(grid.flat)[len(measures) :]:
        axes.axis("off")
    return _svg(figure, name, title)


def _guest_devices(listing: Any) -> dict[tuple[str, str], str]:
    """`lspci -n` lines of the guest: (vendor, device) -> BDF."""
    found = {}
    for line in listing:
        match = re.match(r"(\S+) \S+: ([0-9a-f]{4}):([0-9a-f]{4})", str(line))
        if match:
            found[(match[2], match[3])] = match[1]
    return found


def _figure(width: float, height: float, rows: int = 1, columns: int = 1) -> tuple[Any, Any]:
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context({"font.size": 9, "text.color": INK, "axes.labelcolor": INK}):
        figure = Figure(figsize=(width, height), layout="constrained")
        return figure, figure.subplots(rows, columns, squeeze=rows * columns == 1)


def _box(
    axes: Any, x: float, y: float, width: float, height: float, label: str, *, fill: bool = False
) -> None:
    from matplotlib.patches import FancyBboxPatch

    colour = "#ddf4ff" if fill else PAPER
    style = "round,pad=0,rounding_size=0.08"
    axes.add_patch(
        FancyBboxPatch((x, y), width, height, boxstyle=style, facecolor=colour, edgecolor=SOFT)
    )
    where = (x + width / 2, y + height / 2) if fill else (x + width / 2, y + height + 0.04)
    axes.text(*where, label, ha="center", va="center" if fill else "bottom", fontsize=8)


def _arrow(axes: Any, x: float, y: float, to_x: float, to_y: float) -> None:
    axes.annotate("", (to_x, to_y), (x, y), arrowprops={"arrowstyle": "->", "color": SOFT})


def _svg(figure: Any, name: str, title: str) -> str:
    """The figure as an `svg` element; its ids begin with `name`, since a page has several."""
    from matplotlib import rc_context

    stream = io.StringIO()
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "report"}):
        figure.savefig(stream, format="svg", metadata={"Date": None, "Creator": None})
    body = stream.getvalue()
    body = body[body.index("<svg") :]
    body = re.sub(r'<svg([^>]*?) width="[^"]*"', r"<svg\1", body, count=1)
    body = re.sub(r'<svg([^>]*?) height="[^"]*"', r"<svg\1", body, count=1)
    body = re.sub(r"<metadata>.*?</metadata>", "", body, flags=re.DOTALL)
    body = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{name}-", body)
    return body.replace("<svg ", f'<svg role="img" aria-label="{title}" ', 1)
