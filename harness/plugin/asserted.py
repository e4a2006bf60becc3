"""What a test has asserted and what was found, where it held: for the record.

pytest makes the words for every assertion that holds if there is a plugin that wants them, those of
its own plugins' libraries included: this one is there while a record is kept, and no longer.
"""

from __future__ import annotations

import sys
from types import FrameType

import pytest

from harness.text import head

MOST = 50  # of a test: one may assert in a loop
_FOUND = pytest.StashKey[list[dict[str, str]]]()


class Asserted:
    """A plugin that notes it with the test."""

    def pytest_assertion_pass(self, item: pytest.Item, orig: str, expl: str) -> None:
        """Note what was asserted, and of what was found the first line: the values compared."""
        found = item.stash.setdefault(_FOUND, [])
        if len(found) < MOST and _asserting_file() == str(item.path):
            first = expl.partition("\n")[0]
            found.append({"asserted": head(orig, 500), "found": head(first, 500)})


def asserted(item: pytest.Item) -> list[dict[str, str]]:
    """What a test has asserted so far, in turn."""
    return item.stash.get(_FOUND, [])


def _asserting_file() -> str:
    """Whose assertion has just held: pytest has rewritten those of its plugins (anyio), too."""
    frame: FrameType | None = sys._getframe()
    while frame is not None and frame.f_code.co_name != "_call_assertion_pass":
        frame = frame.f_back
    asserting = frame.f_back if frame is not None else None
    return asserting.f_code.co_filename if asserting is not None else ""
