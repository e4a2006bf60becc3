"""``python -m tests.pictures``: the pictures of reports in docs/, made by Chromium.

The reports are of the kept records of real runs, one of which is altered for it. The runs of the
trend page are made up: the kept run again and again, with other times. So are the hosts of a fleet:
the kept run with other names and versions, and with failures.
"""

from __future__ import annotations

import dataclasses
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from PIL import Image

from harness import exits
from reports.fleet import hosts, page
from reports.history import trend
from reports.history.history import opened
from reports.html import html
from reports.record.integrity import check
from reports.record.reading import load
from reports.record.record import Record
from tests import fleets
from tests.unit import kept
from tests.unit.mini import ROOT

DOCS = ROOT / "docs"
WIDE, NARROW = 1100, 360  # CSS pixels
PICTURES = {  # the picture, by the page that it is of: its size
    "report": (WIDE, 1500),
    "report-failed": (WIDE, 1000),
    "report-altered": (WIDE, 700),
    "report-in-guest": (WIDE, 3850),
    "report-zh-narrow": (NARROW, 1100),
    "trend": (WIDE, 1500),
    "fleet": (WIDE, 1250),
}
RUNS = 12  # of the trend page
FAILS = "test_there_is_memory_for_the_guest"  # in one of them
FAILED = "E   the guest is to have 15360 MiB, and the host has 4915 MiB in all"
VIABLE = "test_every_group_is_viable"
NOT_VIABLE = "E   group 41 is not viable: 0000:81:00.1 is bound to snd_hda_intel"
COLOURS = 256  # of a picture: it stays small, and one sees no difference


def main() -> int:
    """Make them all; 1 where the fonts or Chromium are missing."""
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    fonts = subprocess.run(["fc-list", ":lang=zh"], capture_output=True, text=True)
    if chromium is None or not fonts.stdout:
        print("needs chromium, and a Chinese font such as fonts-wqy-microhei", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory() as name:
        for picture, text in _pages(Path(name)):
            _take(chromium, Path(name), picture, text)
    return 0


def _take(chromium: str, folder: Path, picture: str, text: str) -> None:
    """Make one picture, of the page with that text; Chromium works in `folder`."""
    written, made = folder / f"{picture}.html", DOCS / f"{picture}.png"
    written.write_text(text, encoding="utf-8")
    size = ",".join(map(str, PICTURES[picture]))
    options = ("--headless", "--no-sandbox", "--hide-scrollbars", f"--window-size={size}")
    user = f"--user-data-dir={folder / 'user'}"
    words = [chromium, *options, user, f"--screenshot={made}", f"file://{written}"]
    subprocess.run(words, check=True, capture_output=True)
    with Image.open(made) as image:
        image.convert("RGB").quantize(COLOURS).save(made, optimize=True)


def _pages(folder: Path) -> Iterator[tuple[str, str]]:
    """The pages by the names of their pictures."""
    yield "report", kept.page("passed")
    yield "report-failed", kept.page("failed")
    yield "report-zh-narrow", kept.page("passed", "zh")
    (folder / "in-guest").mkdir()
    inside = load(kept.unpacked("run-in-guest", folder / "in-guest"))
    yield "report-in-guest", html.page(inside, check(inside))
    altered = load(_altered(folder / "altered"))
    yield "report-altered", html.page(altered, check(altered))
    with opened(folder / "history.sqlite") as history:
        for run in _runs():
            history.add(run)
        yield "trend", trend.page(history)
    yield "fleet", _fleet(folder / "fleet")


def _fleet(folder: Path) -> str:
    """The page of a dozen hosts: three have old firmware and fail for it, one has another card."""
    for number in range(1, 13):
        old, other = number in (3, 7, 8), number == 4
        day = "3.10, 03/12/2024" if old else "3.15, 11/20/2024"
        kernel = "6.6.0-72.0.0.76" if number in (7, 8, 11) else "6.6.0-80.0.0.84"
        shown = {
            "Firmware": [f"Byosoft, {day}"],
            "Host kernel": f"{kernel}.oe2403sp1.aarch64",
            "Memory": f"{503 + number / 10} GiB",
            "Machine id (digest)": [f"{number * 0x9E3779B97F4A7C15 % 2**64:016x}"],
            "GPU": "NVIDIA L20" if other else "NVIDIA A100-PCIE-80GB",
        }
        fails = {FAILS: FAILED} if old else {VIABLE: NOT_VIABLE} if other else {}
        fleets.copy(folder, f"kunpeng-{number:02}", shown, fails)
    return page.page(hosts.read_all(hosts.runs(folder)), folder)


def _altered(folder: Path) -> Path:
    """The kept run, with one exit status of a command made better."""
    shutil.copytree(kept.PASSED, folder)
    record = folder / "record.jsonl"
    record.write_bytes(record.read_bytes().replace(b'"rc": 1', b'"rc": 0', 1))
    return folder


def _runs() -> Iterator[Record]:
    chance = random.Random(1)
    for number in range(RUNS):
        run = _again(kept.passed(), number, chance.gauss(1, 0.06))
        kind = {RUNS - 4: _failed, RUNS - 2: _away}.get(number)
        yield kind(run) if kind else run


def _failed(run: Record) -> Record:
    """The run with a value of its profile changed, and a test that failed for it."""
    kata = {**run.profile["kata"], "default_memory": 15360}
    start = run.start | {"profile": {**run.profile, "kata": kata}}
    end = run.events[-1] | {"exit_status": exits.FAILED}
    tests = tuple(
        dataclasses.replace(test, status="failed", outcome="failed", message=FAILED)
        if test.name == FAILS
        else test
        for test in run.tests
    )
    return dataclasses.replace(run, events=(start, *run.events[1:-1], end), tests=tests)


def _away(run: Record) -> Record:
    """The run as one whose host could not be reached."""
    ended = run.events[-1] | {"exit_status": exits.UNREACHABLE}
    nothing: dict[str, Any] = {"tests": (), "stages": (), "shown": ()}
    return dataclasses.replace(run, events=(run.events[0], ended), **nothing)


def _again(run: Record, number: int, factor: float) -> Record:
    """The run as one of another day, in which all took so many times as long."""
    time = datetime.fromisoformat(kept.passed().start["time"]) + timedelta(days=number)
    id = f"{time:%Y%m%dT%H%M%SZ}-{number:06x}"
    start = run.start | {"id": id, "time": time.isoformat()}
    end = run.events[-1] | {"at": run.seconds * factor}
    stages = [dataclasses.replace(s, seconds=round(s.seconds * factor, 3)) for s in run.stages]
    shown = [
        dataclasses.replace(one, value=round(one.value * factor, 3)) if one.unit else one
        for one in run.shown
    ]
    events = (start, *run.events[1:-1], end)
    return dataclasses.replace(
        run, events=events, stages=tuple(stages), shown=tuple(shown), digest=id
    )


if __name__ == "__main__":
    sys.exit(main())
