"""Common functions for pictures: matplotlib figures as SVG inside a page."""

from __future__ import annotations

import html
import io
import re
from dataclasses import dataclass
from typing import Any
from warnings import catch_warnings, filterwarnings

INK, PAPER, SOFT, LINE = "#1f2328", "#ffffff", "#57606a", "#d0d7de"


@dataclass(frozen=True)
class Margins:
    """The margins around the axes, in inches."""

    left: float = 0.05
    bottom: float = 0.05
    right: float = 0.05
    top: float = 0.05


def figure(
    width: float, height: float, margins: Margins, rows: int = 1, columns: int = 1
) -> tuple[Any, Any]:
    """A figure in inches, and its axes.

    The margins are ours, since matplotlib draws everything twice to find its own.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    style: dict[Any, Any] = {"font.size": 9, "axes.edgecolor": SOFT, "axes.labelcolor": INK}
    style |= {"text.color": INK, "xtick.color": INK, "ytick.color": INK}
    with rc_context(style):
        made = Figure(figsize=(width, height))
        made.subplots_adjust(
            left=margins.left / width,
            right=1 - margins.right / width,
            bottom=margins.bottom / height,
            top=1 - margins.top / height,
            wspace=0.15,
            hspace=0.6,
        )
        return made, made.subplots(rows, columns, squeeze=rows * columns == 1)


def bare(axes: Any, *sides: str) -> None:
    """Remove the frame's lines on these sides."""
    for side in sides:
        axes.spines[side].set_visible(False)


def svg(made: Any, name: str, title: str) -> str:
    """The figure as an `svg` element; its ids begin with `name`, since a page has several.

    Text stays text, in the fonts of whoever reads: this machine may have none for Chinese.
    """
    from matplotlib import rc_context
    from matplotlib.text import Text

    stream = io.StringIO()
    style: dict[Any, Any] = {"svg.fonttype": "none", "svg.hashsalt": "report"}
    style["text.parse_math"] = False  # of what is made while it draws
    for text in made.findobj(Text):  # names of others are no formulas
        text.set_parse_math(False)
    with rc_context(style), catch_warnings():
        filterwarnings("ignore", "Glyph .* missing from font")  # it can only not measure them
        made.savefig(stream, format="svg", metadata={"Date": None, "Creator": None})
    body = stream.getvalue()
    body = body[body.index("<svg") :]
    body = re.sub(r'<svg([^>]*?) width="[^"]*"', r"<svg\1", body, count=1)
    body = re.sub(r'<svg([^>]*?) height="[^"]*"', r"<svg\1", body, count=1)
    body = re.sub(r"<metadata>.*?</metadata>", "", body, flags=re.DOTALL)
    body = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{name}-", body)
    label = html.escape(title)
    return body.replace("<svg ", f'<svg role="img" aria-label="{label}" ', 1)
