"""A plugin that keeps the lab's state at the changes of the run which loads it.

Each may be kept twice: as the change is in the journal and has not begun, and as it is under way.
From such a state a lab goes on as one whose run was killed there, as often as one likes.
SWEEP_STATES names the folder for them, SWEEP_CHANGES the first and the last change that is meant
("1 6"), after which the run is killed indeed; SWEEP_WORK is what `vlab.saved` has told of the lab.
"""

from __future__ import annotations

import os
import re
import signal
import threading
from pathlib import Path
from typing import Any

import vlab
from harness.undo.journal import Journal
from tests.sweep.points import CHANGE, ENTRY, KEPT, NAME
from vlab import saved

UNDER_WAY = 1.0  # seconds; few changes on an emulated lab are done by then, and each has begun

_record = Journal.record
_one = threading.Lock()
_seen: list[str] = []


def _keep(number: int, at: str, change: str) -> None:
    (lab,) = (lab for lab in vlab.find() if lab.name == os.environ["ACCEPT_VLAB__NAME"])
    folder = Path(os.environ["SWEEP_STATES"]) / f"{number:02}-{at}"
    with _one:
        saved.save(lab, folder, float(os.environ["SWEEP_WORK"]), anew=False)
    (folder / NAME).write_text(change, encoding="utf-8")


def _under_way(number: int, change: str, last: bool) -> None:
    if CHANGE in KEPT:
        _keep(number, CHANGE, change)
    if last:
        os.kill(os.getpid(), signal.SIGKILL)


def _recorded(journal: Journal, stage: str, what: str, *words: Any, **more: Any) -> Any:
    entry = _record(journal, stage, what, *words, **more)
    change = f"[{stage}] {re.sub(journal.run_id, 'RUN', what, flags=re.IGNORECASE)}"
    first, last = map(int, os.environ["SWEEP_CHANGES"].split())
    if change not in _seen:
        _seen.append(change)
        if first <= len(_seen) <= last:
            number = len(_seen)
            if ENTRY in KEPT:
                _keep(number, ENTRY, change)
            meant = (number, change, number == last)
            threading.Timer(UNDER_WAY, _under_way, meant).start()
    return entry


def pytest_configure() -> None:
    """Let the journal keep."""
    Journal.record = _recorded  # type: ignore[method-assign,assignment]
