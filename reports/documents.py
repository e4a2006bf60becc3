"""All documents of a run, written into a folder; every one is made from the record alone."""

from __future__ import annotations

import json
from pathlib import Path

from reports import html, junit, ocp, summary
from reports.integrity import Integrity
from reports.record import Record


def write(record: Record, integrity: Integrity, out: Path, language: str = "en") -> Path:
    """Write them into `out`; returns the path of the report. Raises OSError."""
    out.mkdir(parents=True, exist_ok=True)
    short = json.dumps(summary.document(record), ensure_ascii=False, indent=2)
    (out / "summary.json").write_text(f"{short}\n", encoding="utf-8")
    (out / "junit.xml").write_bytes(junit.document(record))
    (out / "ocp.jsonl").write_text(ocp.document(record), encoding="utf-8")
    report = out / "report.html"
    report.write_text(html.page(record, integrity, language), encoding="utf-8")
    return report
