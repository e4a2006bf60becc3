"""The regression gate (`--baseline last-good`): did a figure leave the band of the good runs?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date
from typing import Any

from reports.history import bands
from reports.history.history import History
from reports.record.measures import measures, units
from reports.record.record import Record

FACT = "baseline"  # what a run's record has of all this
LAST = 50  # runs of the lab among which good ones are looked for

Fact = dict[str, Any]


def judge(record: Record, history: History, today: date) -> Fact:
    """Hold a run against the good runs of its lab before it; `regression` says if it fails.

    A figure fails that is worse than its band, unless a waiver of the profile names it. A waiver
    that has expired fails by itself; one that names no figure is told.
    """
    good = good_runs(record, history)
    usual = history.usual(history.lab(record), good, LAST)
    now = measures(record)
    waivers = record.profile.get("waiver", ())
    valid = {w["what"]: w for w in waivers if date.fromisoformat(w["expires"]) >= today}
    rows = [_row(name, value, usual.get(name), valid.get(name)) for name, value in now.items()]
    expired = [w for w in waivers if w["what"] not in valid]
    known = {*now, *usual}
    unknown = [w for w in waivers if w["what"] not in known]
    return {
        "against": good,
        "measures": rows,
        "expired": expired,
        "unknown": unknown,
        "said": list(_lines(record, rows, expired, unknown, len(good))),
        "regression": bool(expired) or any(row["state"] == "regression" for row in rows),
    }


def good_runs(record: Record, history: History) -> list[str]:
    """The ids of the good runs of a run's lab, the oldest first; itself left out."""
    runs = history.runs(history.lab(record), LAST)
    return [run.id for run in runs if run.good and run.id != record.id]


def rounded(usual: bands.Band) -> Fact:
    """A band as a record has it."""
    return {"low": round(usual.low, 3), "high": round(usual.high, 3)}


def _row(name: str, value: float, usual: bands.Band | None, waiver: Fact | None) -> Fact:
    row: Fact = {"name": name, "value": value, "low": None, "high": None, "state": "no band"}
    if usual is None:
        return row
    row |= {**rounded(usual), "state": "ok"}
    if usual.left_by(name, value):
        row["state"] = "waived" if waiver else "regression"
        row["waiver"] = waiver
    return row


def _lines(
    record: Record,
    rows: Sequence[Fact],
    expired: Sequence[Fact],
    unknown: Sequence[Fact],
    good: int,
) -> Iterator[str]:
    unit = units(record)
    for row in sorted(rows, key=lambda row: str(row["state"])):  # regressions before the waived
        if row["state"] in ("regression", "waived"):
            sign = unit[row["name"]]
            band = f"{row['low']:g} to {row['high']:g} {sign}"
            yield f"{row['state']}: {row['name']} is {row['value']:g} {sign}, usual: {band}"
    for waiver in expired:
        yield (
            f"expired: the waiver of {waiver['owner']} for '{waiver['what']}' ended on"
            f" {waiver['expires']} ({waiver['reason']})"
        )
    for waiver in unknown:
        yield (
            f"the waiver of {waiver['owner']} for '{waiver['what']}' names no figure of this lab;"
            f" there are: {', '.join(row['name'] for row in rows) or 'none'}"
        )
    compared = sum(row["state"] != "no band" for row in rows)
    few = f"; a band takes {bands.ENOUGH}" if good < bands.ENOUGH else ""
    yield f"{compared} of {len(rows)} figures held against {good} good runs{few}"
