"""The stand-ins of a lab: those that its profile names, and those that the facts show."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from harness.record.facts import Shown

MARKS = ("stand-in", "standin", "stand_in")  # in the names and versions of our stand-ins


def found(profile: Mapping[str, Any], shown: Iterable[Shown]) -> tuple[str, ...]:
    """The names of the parts that are stand-ins; never empty for a virtual lab.

    A profile may leave one out, so the fields in `shown` that have a `part` are searched as well.
    """
    seen = [one.part for one in shown if one.part and _marked(one.value)]
    names = dict.fromkeys([*profile.get("standins", ()), *seen])
    if not names and profile["target"]["kind"] == "vlab":
        return ("virtual lab",)
    return tuple(names)


def _marked(value: object) -> bool:
    said = json.dumps(value).lower()
    return any(mark in said for mark in MARKS)
