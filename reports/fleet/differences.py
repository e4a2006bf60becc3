"""What differs between the hosts that failed and those that passed, the most telling first.

Each condition is an attribute that splits the hosts by its values; it is ranked by the gain ratio
of that split (J. R. Quinlan, "Induction of Decision Trees", Machine Learning 1, 1986): how much of
the outcome it tells, divided by how much it takes to tell its values apart. So a value of which
every host has another one, as a size of memory to the byte, tells little.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import log2

from reports.fleet.hosts import Host

LEAST = 0.05  # of a gain ratio: below it a condition is not worth a line


@dataclass(frozen=True)
class Value:
    """A value of a condition, and the hosts that have it."""

    text: str
    failed: Sequence[Host]
    passed: Sequence[Host]


@dataclass(frozen=True)
class Difference:
    """A condition with its values, those with the largest share of failures first.

    `ratio` is from 0 to 1, of a condition that splits the hosts as their outcome does.
    """

    name: str
    values: Sequence[Value]
    ratio: float

    @property
    def shared(self) -> bool:
        """Whether two hosts have one value; or there are no more than two."""
        known = sum(len(one.failed) + len(one.passed) for one in self.values)
        return known == 2 or len(self.values) < known


def differences(failed: Sequence[Host], passed: Sequence[Host]) -> list[Difference]:
    """The conditions that tell something, among those that are known of both kinds of hosts.

    A host of which a condition is not known counts for none of it: a stage that failed has found
    nothing, which is a consequence. Where each of several hosts has a value of its own, that tells
    nothing.
    """
    both = {name for one in failed for name in one.conditions}
    names = dict.fromkeys(n for one in passed for n in one.conditions if n in both)
    found = [_difference(name, failed, passed) for name in names]
    telling = (one for one in found if one.ratio > LEAST and one.shared)
    return sorted(telling, key=lambda one: -one.ratio)


def _difference(name: str, failed: Sequence[Host], passed: Sequence[Host]) -> Difference:
    texts = dict.fromkeys(
        one.conditions[name] for one in [*failed, *passed] if name in one.conditions
    )
    values = [Value(text, _with(failed, name, text), _with(passed, name, text)) for text in texts]
    values.sort(key=lambda one: len(one.passed) / (len(one.failed) + len(one.passed)))
    split = [(len(one.failed), len(one.passed)) for one in values]
    return Difference(name, values, gain_ratio(split))


def _with(hosts: Iterable[Host], name: str, text: str) -> list[Host]:
    return [one for one in hosts if one.conditions.get(name) == text]


def gain_ratio(split: Sequence[tuple[int, int]]) -> float:
    """The gain ratio of a split: how many failed and passed, for each value; 0 of one value."""
    total = sum(map(sum, split))
    before = _bits([sum(column) for column in zip(*split, strict=True)])
    after = sum(sum(one) / total * _bits(one) for one in split)
    into = _bits([sum(one) for one in split])
    return (before - after) / into if into else 0.0


def _bits(counts: Sequence[int]) -> float:
    """The entropy of a distribution."""
    total = sum(counts)
    return -sum(n / total * log2(n / total) for n in counts if n)
