"""All documents of a run, written into a folder; every one is made from the record alone."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from harness.record.files import replace
from reports.formats import junit, markdown, ocp, summary
from reports.html import html
from reports.record.integrity import Integrity
from reports.record.record import Record

NAMES = ("summary.json", "junit.xml", "ocp.jsonl", "report.html", "summary.md")


@dataclass(frozen=True)
class Written:
    """The path of the report, and by file what kept a document from being made or written."""

    report: Path
    failed: Mapping[str, Exception]


def write(record: Record, integrity: Integrity, out: Path, language: str = "en") -> Written:
    """Write them into `out`, each whole or not at all. Raises OSError where there is no `out`.

    The evidence stays where it is; documents elsewhere lead there.
    """
    out.mkdir(parents=True, exist_ok=True)
    record = integrity.of(record)
    way = Path(os.path.relpath(record.folder.resolve(), out.resolve())).as_posix()
    base = "" if way == "." else f"{quote(os.fsencode(way))}/"
    made: dict[str, Callable[[], str | bytes]] = {
        "summary.json": lambda: _json(summary.document(record)),
        "junit.xml": lambda: junit.document(record),
        "ocp.jsonl": lambda: ocp.document(record, base),
        "report.html": lambda: html.page(record, integrity, language, base),
        "summary.md": lambda: markdown.document(record, language, out.resolve() / "report.html"),
    }
    if integrity.problems:  # else its digest would take the place of the one that tells
        del made["summary.json"]
    failed: dict[str, Exception] = {}
    for name, make in made.items():
        try:
            text = make()
            replace(out / name, text.encode() if isinstance(text, str) else text)
        except Exception as error:  # whatever it is, the others are made
            failed[name] = error
    return Written(out / "report.html", failed)


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, indent=2) + "\n"
