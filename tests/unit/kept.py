"""The records of real runs that are kept as test data."""

from __future__ import annotations

import lzma
from functools import cache
from pathlib import Path

from reports.html import html
from reports.record.integrity import check
from reports.record.reading import load
from reports.record.record import Record
from tests.unit.mini import ROOT

DATA = ROOT / "tests" / "data"
PASSED, FAILED = DATA / "run-passed", DATA / "run-failed"


@cache
def passed() -> Record:
    """A run on the virtual lab in which all went well."""
    return load(PASSED)


@cache
def failed() -> Record:
    """One in which something did not."""
    return load(FAILED)


@cache
def page(which: str, language: str = "en") -> str:
    """The report of the one that `passed` or `failed`."""
    run = {"passed": passed, "failed": failed}[which]()
    return html.page(run, check(run), language)


def unpacked(name: str, folder: Path) -> Path:
    """A record that is kept packed, in a folder of its own."""
    packed = DATA / name / "record.jsonl.xz"
    (folder / "record.jsonl").write_bytes(lzma.decompress(packed.read_bytes()))
    return folder


def recorded_smi() -> list[tuple[str, int, str]]:
    """Failed calls of the real nvidia-smi: name, exit status, and what it said on stdout."""
    text = (DATA / "nvidia" / "smi-535.309.01.txt").read_text(encoding="utf-8")
    parts = [part.partition("\n") for part in text.split("## ")[1:]]
    return [(*_call(head), said.rstrip("\n")) for head, _, said in parts]


def _call(head: str) -> tuple[str, int]:
    name, status = head.split()
    return name, int(status)
