"""The records of real runs that are kept as test data."""

from __future__ import annotations

from reports.reading import load
from reports.record import Record
from tests.unit.mini import ROOT

DATA = ROOT / "tests" / "data"
PASSED, FAILED = DATA / "run-passed", DATA / "run-failed"


def passed() -> Record:
    """A run on the virtual lab in which all went well."""
    return load(PASSED)


def failed() -> Record:
    """One in which something did not."""
    return load(FAILED)
