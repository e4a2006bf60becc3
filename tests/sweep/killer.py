"""A plugin that kills the run which loads it, as ``kill -9`` does, at its next change.

SWEEP_SEEN names a file of changes at which runs were killed before: the first that is not among
them is added to it. SWEEP_AT is 'entry' (it is in the journal, and has not begun) or anything else
(it is under way). SWEEP_ONLY is a text that the change has to have.
"""

from __future__ import annotations

import os
import re
import signal
import threading
from pathlib import Path
from typing import Any

from harness.undo.journal import Journal

UNDER_WAY = 1.0  # seconds; no change on an emulated lab is done by then, and each has begun

_record = Journal.record


def _kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _recorded(journal: Journal, stage: str, what: str, *words: Any, **more: Any) -> Any:
    entry = _record(journal, stage, what, *words, **more)
    seen = Path(os.environ["SWEEP_SEEN"])
    change = f"[{stage}] {re.sub(journal.run_id, 'RUN', what, flags=re.IGNORECASE)}"
    meant = os.environ.get("SWEEP_ONLY", "") in change
    if meant and change not in seen.read_text("utf-8").splitlines():
        with seen.open("a", encoding="utf-8") as file:
            file.write(f"{change}\n")
        if os.environ["SWEEP_AT"] == "entry":
            _kill()
        Journal.record = _record  # type: ignore[method-assign]  # this one is the next
        threading.Timer(UNDER_WAY, _kill).start()
    return entry


def pytest_configure() -> None:
    """Let the journal kill."""
    Journal.record = _recorded  # type: ignore[method-assign,assignment]
