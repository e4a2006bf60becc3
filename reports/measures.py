"""The figures of a run, and under what conditions it took place: what runs are compared by."""

from __future__ import annotations

from reports.inventory import inventory
from reports.record import Record

UNITS = {"seconds": "s", "tokens_per_second": "1/s"}  # by the last word of a measure's name


def measures(record: Record) -> dict[str, float]:
    """What a run measured: seconds of each stage that was carried out, and the model's figures."""
    found = {f"stage {s.name} seconds": s.seconds for s in record.stages if s.how == "provisioned"}
    for fact in ("answer", "streamed"):
        for key, value in record.facts.get(fact, {}).items():
            if key.endswith(tuple(UNITS)) and isinstance(value, int | float):
                found[f"{fact} {key}"] = float(value)
    return found


def unit(name: str) -> str:
    """The unit of a measure."""
    return next(unit for end, unit in UNITS.items() if name.endswith(end))


def conditions(record: Record) -> dict[str, str]:
    """What may explain that one run went otherwise than another."""
    guide = record.facts.get("guide", {})
    found = dict(inventory(record)) | {
        "harness": str(record.start.get("commit") or ""),
        "profile": str(record.start.get("profile_digest") or ""),
        "guide": str(guide.get("guide", {}).get("sha256", "")),
        "clauses": str(guide.get("sha256", "")),
    }
    return {name: value for name, value in found.items() if value}
