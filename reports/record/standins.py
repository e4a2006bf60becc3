"""What of a lab stands in for the real thing: as its profile says, and as the run has seen."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

MARKS = ("stand-in", "standin", "stand_in")  # how our stand-ins call themselves

# As profiles name it -> the fact, or the stage's facts, that would show it, and the key within.
PLACES = {
    "GPU": ("gpus", None),
    "kata runtime": ("kata", "runtime_version"),
    "vLLM": ("model_server", "version"),
}


def found(profile: Mapping[str, Any], facts: Mapping[str, Any]) -> tuple[str, ...]:
    """Their names; never empty for a virtual lab. `facts` are those of stages and others by name.

    A profile that says nothing of a stand-in does not make it the real thing.
    """
    names = dict.fromkeys([*profile.get("standins", ()), *_seen(facts)])
    if not names and profile["target"]["kind"] == "vlab":
        return ("virtual lab",)
    return tuple(names)


def _seen(facts: Mapping[str, Any]) -> Iterator[str]:
    for name, (place, key) in PLACES.items():
        value = facts.get(place)
        said = json.dumps(value.get(key) if key and isinstance(value, Mapping) else value).lower()
        if any(mark in said for mark in MARKS):
            yield name
