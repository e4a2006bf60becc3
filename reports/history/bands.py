"""Bands: the usual range of a measure, around the median of earlier good runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from reports.record.measures import more_is_better

ENOUGH = 3  # values below which there is no band: nothing can be said
NEWEST = 10  # of more values those that count: what is usual moves with a lab
WIDTH = 4.0  # in median absolute deviations, which one outlier cannot move
SLACK = 0.25  # of the median: machines differ by this much from day to day
LEAST_STAGE = 2.0  # seconds: below this a difference of a stage is noise
LEAST = 0.05  # seconds, of an answer: a first token may come after 0.2 s


@dataclass(frozen=True)
class Band:
    """The usual range of a measure."""

    middle: float
    low: float
    high: float

    def left_by(self, name: str, value: float) -> bool:
        """Whether the value of a measure is worse than usual; better is no fault."""
        return value < self.low if more_is_better(name) else value > self.high


def least(name: str) -> float:
    """The smallest difference of a measure that counts."""
    if more_is_better(name):
        return 0.0
    return LEAST_STAGE if name.startswith("stage ") else LEAST


def band(values: Sequence[float], least: float = LEAST_STAGE) -> Band | None:
    """The band of the newest of earlier values, the oldest first; None where there are too few."""
    values = values[-NEWEST:]
    if len(values) < ENOUGH:
        return None
    middle = median(values)
    spread = WIDTH * median(abs(value - middle) for value in values)
    room = max(spread, SLACK * middle, least)
    return Band(middle, max(0.0, middle - room), middle + room)


def bands(values: dict[str, list[float]]) -> dict[str, Band]:
    """The bands of measures by name, of those that have one."""
    found = {name: band(points, least(name)) for name, points in values.items()}
    return {name: usual for name, usual in found.items() if usual is not None}
