"""A plugin that kills the run which loads it, as ``kill -9`` does, in the midst of a change.

SWEEP_ONLY is a text that the change has to have; SWEEP_SEEN names a file to write it to.
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


def _recorded(journal: Journal, stage: str, what: str, *words: Any, **more: Any) -> Any:
    entry = _record(journal, stage, what, *words, **more)
    change = f"[{stage}] {re.sub(journal.run_id, 'RUN', what, flags=re.IGNORECASE)}"
    if os.environ["SWEEP_ONLY"] in change:
        Path(os.environ["SWEEP_SEEN"]).write_text(change, encoding="utf-8")
        Journal.record = _record  # type: ignore[method-assign]  # this one is the first
        threading.Timer(UNDER_WAY, os.kill, (os.getpid(), signal.SIGKILL)).start()
    return entry


def pytest_configure() -> None:
    """Let the journal kill."""
    Journal.record = _recorded  # type: ignore[method-assign,assignment]
