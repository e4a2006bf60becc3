"""The regression gate (`--baseline last-good`): did a figure leave the band of the good runs?"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date
from typing import Any

from reports import bands
from reports.history import History
from reports.measures import measures, unit
from reports.record import Record

FACT = "baseline"  # what a run's record has of all this
LAST = 50  # runs of the lab among which good ones are looked for

Fact = dict[str, Any]


def judge(record: Record, history: History, today: date) -> Fact:
    """Hold a run against the good runs of its lab before it; `regression` says if it fails.

    A figure fails that is worse than its band, unless a waiver of the profile names it. A waiver
    that has expired fails by itself.
    """
    lab = str(record.profile["name"])
    good = [run.id for run in history.runs(lab, LAST) if run.good and run.id != record.id]
    before = {
        name: [value for run, value in points if run in good]
        for name, points in history.measures(lab, LAST).items()
    }
    waivers = record.profile.get("waiver", ())
    valid = {w["what"] for w in waivers if date.fromisoformat(w["expires"]) >= today}
    rows = list(_rows(measures(record), before, valid))
    expired = [w for w in waivers if w["what"] not in valid]
    return {
        "against": good,
        "measures": rows,
        "expired": expired,
        "said": list(_said(rows, expired, len(good))),
        "regression": bool(expired) or any(row["state"] == "regression" for row in rows),
    }


def _rows(
    now: Mapping[str, float], before: Mapping[str, Sequence[float]], waived: Iterable[str]
) -> Iterator[Fact]:
    for name, value in now.items():
        usual = bands.band(before.get(name, ()), bands.least(name))
        if usual is None:
            yield {"name": name, "value": value, "low": None, "high": None, "state": "no band"}
            continue
        bad = value < usual.low if bands.more_is_better(name) else value > usual.high
        state = ("waived" if name in waived else "regression") if bad else "ok"
        yield {
            "name": name,
            "value": value,
            "low": round(usual.low, 3),
            "high": round(usual.high, 3),
            "state": state,
        }


def _said(rows: Sequence[Fact], expired: Sequence[Fact], good: int) -> Iterator[str]:
    for row in rows:
        if row["state"] in ("regression", "waived"):
            sign = unit(row["name"])
            band = f"{row['low']:g} to {row['high']:g} {sign}"
            yield f"{row['state']}: {row['name']} is {row['value']:g} {sign}, usual: {band}"
    for waiver in expired:
        yield (
            f"expired: the waiver of {waiver['owner']} for '{waiver['what']}' ended on"
            f" {waiver['expires']} ({waiver['reason']})"
        )
    compared = sum(row["state"] != "no band" for row in rows)
    few = f"; a band takes {bands.ENOUGH}" if good < bands.ENOUGH else ""
    yield f"{compared} of {len(rows)} figures held against {good} good runs{few}"
