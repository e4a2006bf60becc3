"""All documents of a run, written into a folder; every one is made from the record alone."""

from __future__ import annotations

import json
import os
from pathlib import Path
from urllib.parse import quote

from reports.formats import junit, ocp, summary
from reports.html import html
from reports.record.integrity import Integrity
from reports.record.record import Record


def write(record: Record, integrity: Integrity, out: Path, language: str = "en") -> Path:
    """Write them into `out`; returns the path of the report. Raises OSError.

    The evidence stays where it is; documents elsewhere lead there.
    """
    out.mkdir(parents=True, exist_ok=True)
    way = Path(os.path.relpath(record.folder.resolve(), out.resolve())).as_posix()
    base = "" if way == "." else f"{quote(way)}/"
    short = json.dumps(summary.document(record), ensure_ascii=False, indent=2)
    (out / "junit.xml").write_bytes(junit.document(record))
    (out / "ocp.jsonl").write_text(ocp.document(record, base), encoding="utf-8")
    report = out / "report.html"
    report.write_text(html.page(record, integrity, language, base), encoding="utf-8")
    if not integrity.problems:  # else its digest would take the place of the one that tells
        (out / "summary.json").write_text(f"{short}\n", encoding="utf-8")
    return report
