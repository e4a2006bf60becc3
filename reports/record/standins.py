"""What of a lab stands in for the real thing: as its profile says, and as the run has seen."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from harness.record.facts import Shown

MARKS = ("stand-in", "standin", "stand_in")  # how our stand-ins call themselves


def found(profile: Mapping[str, Any], shown: Iterable[Shown]) -> tuple[str, ...]:
    """Their names; never empty for a virtual lab.

    A profile that says nothing of a stand-in does not make it the real thing: `shown` are fields
    that would tell.
    """
    seen = [one.part for one in shown if one.part and _marked(one.value)]
    names = dict.fromkeys([*profile.get("standins", ()), *seen])
    if not names and profile["target"]["kind"] == "vlab":
        return ("virtual lab",)
    return tuple(names)


def _marked(value: object) -> bool:
    said = json.dumps(value).lower()
    return any(mark in said for mark in MARKS)
