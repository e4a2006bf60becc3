"""Runs the acceptance suites as a user would, and reads what they leave behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
RUNS = ROOT / "reports" / "runs"


@dataclass(frozen=True)
class Finished:
    """A run that ended: its exit status, its folder, what it printed."""

    status: int
    folder: Path
    output: str

    @property
    def record(self) -> list[dict[str, Any]]:
        """The record's events, in order."""
        text = (self.folder / "record.jsonl").read_text(encoding="utf-8")
        return [json.loads(line) for line in text.splitlines()]

    def events(self, kind: str, **fields: object) -> list[dict[str, Any]]:
        """The events of a kind that have these fields."""
        return [
            event
            for event in self.record
            if event["kind"] == kind and all(event.get(k) == v for k, v in fields.items())
        ]

    def outcomes(self) -> dict[str, str]:
        """Test id -> outcome, from the JUnit file."""
        found = {}
        for case in ET.parse(self.folder / "junit.xml").getroot().iter("testcase"):
            children = {child.tag for child in case}
            outcome = next(
                (tag for tag in ("error", "failure", "skipped") if tag in children), "passed"
            )
            found[f"{case.get('classname')}.{case.get('name')}"] = outcome
        return found


@contextmanager
def started(
    *arguments: str, env: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[str]]:
    """``pytest`` in a session of its own, as from another terminal; never left running.

    A virtual lab that happens to be up is not used: what these runs find must be as it was built.
    """
    process = subprocess.Popen(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *arguments],
        cwd=ROOT,
        env={**os.environ, "ACCEPT_VLAB__FRESH": "true", **(env or {})},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(120)
            finally:
                process.kill()


def follow(process: subprocess.Popen[str], until: str | None = None) -> str:
    """Pass its output on as it comes, up to a line with ``until`` in it, or to its end."""
    assert process.stdout is not None
    seen = []
    for line in process.stdout:
        sys.__stdout__.write(f"    | {line}")  # type: ignore[union-attr]
        sys.__stdout__.flush()  # type: ignore[union-attr]
        seen.append(line)
        if until is not None and until in line:
            break
    return "".join(seen)


def finish(process: subprocess.Popen[str], before: str = "") -> Finished:
    """Follow it to its end."""
    output = before + follow(process)
    status = process.wait()
    return Finished(status, (RUNS / "last").resolve(), output)


def left_running(folder: Path) -> list[str]:
    """Command lines of processes that name a file of the virtual lab's machines."""
    found: list[str] = []
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        found = []
        for entry in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                command = entry.read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                continue
            if f"{folder}/lab-" in command:
                found.append(command.strip())
        if not found:
            break
    return found
