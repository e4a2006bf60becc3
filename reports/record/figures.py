"""The figures of a run: what was measured, beside what is expected (fact ``figures``)."""

from __future__ import annotations

from dataclasses import dataclass

from reports.record.record import Record

PREFIXES = ("", "k", "M", "G", "T", "P")  # powers of 1000
PREFIXED = ("B", "FLOP")  # what units begin with whose values go up to such powers
COUNTED = 999.5  # from here on a number has four digits, and no fraction


@dataclass(frozen=True)
class Figure:
    """A figure as `fixtures.common.figures` puts it into the record; `label` by language."""

    id: str
    label: dict[str, str]
    value: float
    unit: str
    expected: float | None
    least: float
    source: str

    @property
    def ratio(self) -> float | None:
        """Measured to expected, more is better, also of a time; None: nothing is expected."""
        if self.expected is None or not self.value:
            return None
        better = self.expected / self.value if self.unit == "s" else self.value / self.expected
        return round(better, 3)


def figures(record: Record) -> list[Figure]:
    """All figures of a run, in the order in which they were measured."""
    return [
        Figure(
            **{key: one[key] for key in ("id", "value", "unit", "expected", "least", "source")},
            label={"en": one["label"], "zh": one["zh"]},
        )
        for one in record.facts.get("figures", ())
    ]


def quantity(value: float, unit: str) -> str:
    """A value with its unit, by three digits at least.

    >>> quantity(3.0217e12, "B/s"), quantity(1234.4, "tokens/s"), quantity(0.1136, "s")
    ('3.02 TB/s', '1,234 tokens/s', '0.114 s')
    """
    prefix = ""
    if unit.startswith(PREFIXED):
        for prefix in PREFIXES:
            if abs(value) < COUNTED or prefix == PREFIXES[-1]:
                break
            value /= 1000
    number = f"{value:,.0f}" if abs(value) >= COUNTED else f"{value:#.3g}".rstrip(".")
    return f"{number} {prefix}{unit}".rstrip()
