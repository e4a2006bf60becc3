"""The measures of a run, and its conditions: both are compared between runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import date

from reports.record.inventory import inventory
from reports.record.record import Record

SETTING = "profile."  # what the name of a condition begins with that is a value of the profile


def stage_measure(name: str) -> str:
    """The name of a stage's time."""
    return f"stage {name} seconds"


def measures(record: Record) -> dict[str, float]:
    """The measures by name: seconds of each provisioned stage, and the model's figures."""
    return {name: value for name, value, _ in _measured(record)}


def units(record: Record) -> dict[str, str]:
    """The unit of each measure, by its name."""
    return {name: unit for name, _, unit in _measured(record)}


def _measured(record: Record) -> Iterator[tuple[str, float, str]]:
    for stage in record.stages:
        if stage.how == "provisioned":
            yield stage_measure(stage.name), stage.seconds, "s"
    for one in record.shown:
        if one.unit and one.place == "answer" and one.value is not None:
            yield one.field.replace(".", " "), float(one.value), one.unit


def more_is_better(name: str) -> bool:
    """Whether a measure is a rate; all others are times."""
    return name.endswith("per_second")


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
    """Versions, profile and guide, by name: a difference may explain why two runs differ."""
    guide = record.facts.get("guide", {})
    virtual = record.profile["target"]["kind"] == "vlab"
    known = {i.name: i.value for i in inventory(record) if not (virtual and i.ephemeral)}
    found = known | {
        "harness": str(record.start.get("commit") or ""),
        "profile": str(record.start.get("profile_digest") or ""),
        "guide": str(guide.get("guide", {}).get("sha256", "")),
        "clauses": str(guide.get("sha256", "")),
    }
    found |= {f"{SETTING}{key}": value for key, value in record.settings.items()}
    return {name: value for name, value in found.items() if value}


def host(record: Record) -> str | None:
    """The lab host's name and id, for people; None where the run did not find them out.

    It is "vlab" for every virtual lab: each is a new machine, but they count as one lab.
    """
    if record.profile["target"]["kind"] == "vlab":
        return "vlab"
    known = [item.value for item in inventory(record) if item.kind == "host"]
    if not known:
        return None
    name, *more = known
    return f"{name} ({', '.join(more)})" if more else name
