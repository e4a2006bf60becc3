"""The figures of a run, and under what conditions it took place: what runs are compared by."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date

from reports.record.inventory import inventory
from reports.record.record import Record

UNITS = {"seconds": "s", "tokens_per_second": "1/s"}  # by the last word of a measure's name

# What every new virtual lab makes anew, and what therefore explains nothing.
NEW_EACH_TIME = ("Host", "Machine", "Container image id", "Container image digest")


def stage_measure(name: str) -> str:
    """The name of a stage's time."""
    return f"stage {name} seconds"


def measures(record: Record) -> dict[str, float]:
    """What a run measured: seconds of each stage that was carried out, and the model's figures."""
    found = {stage_measure(s.name): s.seconds for s in record.stages if s.how == "provisioned"}
    for fact in ("answer", "streamed"):
        for key, value in record.facts.get(fact, {}).items():
            if key.endswith(tuple(UNITS)) and isinstance(value, int | float):
                found[f"{fact} {key}"] = float(value)
    return found


def unit(name: str) -> str:
    """The unit of a measure."""
    return next(unit for end, unit in UNITS.items() if name.endswith(end))


def figure(name: str, text: Callable[[str], str]) -> str:
    """A measure's name in the language of a translator."""
    stage = name.removeprefix("stage ").removesuffix(" seconds")
    if name == stage_measure(stage):
        return text("stage_seconds").format(name=stage)
    return text(name)


def waived(record: Record) -> frozenset[str]:
    """The figures that may be worse than usual: named by a waiver that held when the run began."""
    day = record.started.date()
    waivers = record.profile.get("waiver", ())
    return frozenset(w["what"] for w in waivers if date.fromisoformat(w["expires"]) >= day)


def conditions(record: Record) -> dict[str, str]:
    """What may explain that one run went otherwise than another."""
    guide = record.facts.get("guide", {})
    found = dict(inventory(record)) | {
        "harness": str(record.start.get("commit") or ""),
        "profile": str(record.start.get("profile_digest") or ""),
        "guide": str(guide.get("guide", {}).get("sha256", "")),
        "clauses": str(guide.get("sha256", "")),
    }
    left_out = NEW_EACH_TIME if record.profile["target"]["kind"] == "vlab" else ()
    return {name: value for name, value in found.items() if value and name not in left_out}


def host(record: Record) -> str | None:
    """Which machine was tested, for a person to read; None: the run did not get to know.

    Every virtual lab is a new machine and yet the same lab.
    """
    if record.profile["target"]["kind"] == "vlab":
        return "vlab"
    known = dict(inventory(record))
    if "Host" not in known:
        return None
    return known["Host"] + (f" ({known['Machine']})" if "Machine" in known else "")
