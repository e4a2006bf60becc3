"""What is usual: a band around the median of earlier good runs, and whether a value leaves it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

ENOUGH = 3  # values below which there is no band: nothing can be said
WIDTH = 4.0  # in median absolute deviations, which one outlier cannot move
SLACK = 0.25  # of the median: machines differ by this much from day to day
LEAST = 2.0  # seconds: below this a difference is noise


@dataclass(frozen=True)
class Band:
    """The usual range of a measure."""

    middle: float
    low: float
    high: float


def more_is_better(name: str) -> bool:
    """Whether a measure is a rate; all others are times."""
    return name.endswith("per_second")


def least(name: str) -> float:
    """What a measure may differ by in any case."""
    return 0.0 if more_is_better(name) else LEAST


def band(values: Sequence[float], least: float = LEAST) -> Band | None:
    """The band of earlier values; None where there are too few."""
    if len(values) < ENOUGH:
        return None
    middle = median(values)
    spread = WIDTH * median(abs(value - middle) for value in values)
    room = max(spread, SLACK * middle, least)
    return Band(middle, max(0.0, middle - room), middle + room)
