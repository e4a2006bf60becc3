"""The attacks that a test shows to fail: `python -m tests.findings` writes the table of them.

A test that holds one is marked `@pytest.mark.finding(id, attack)`: a finding's number in the review
of security (F1 to F20) or in that of crashes (C1 to C15), and what was tried, in a few
words. The table is the end of docs/security.md; as it is made of the marks, it names no test that
is not there.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from tests.marks import marks

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "security.md"
HEAD = "## Attacks and crashes, and the test that shows each to do no harm\n"
ROW = "| {} | {} | `{}` |"


def findings() -> list[tuple[str, int, str, str]]:
    """Letter, number, attack and test of each, in order: those of security come first."""
    folders = (ROOT / "tests" / name for name in ("unit", "bench"))
    found = (each for folder in folders for path in folder.rglob("*.py") for each in _of(path))
    return sorted(found, key=lambda each: (each[0] != "F", each))


def _of(path: Path) -> Iterator[tuple[str, int, str, str]]:
    for function, mark in marks(path, "finding"):
        number, attack = map(ast.literal_eval, mark.args)
        yield number[0], int(number[1:]), attack, f"{path.relative_to(ROOT)}::{function}"


def page() -> str:
    """The page's text: what is written by hand, and the table."""
    text = PAGE.read_text(encoding="utf-8").partition(HEAD)[0]
    rows = [ROW.format(f"{letter}{number}", *rest) for letter, number, *rest in findings()]
    return "\n".join([text + HEAD, "| | attack | test |", "| --- | --- | --- |", *rows]) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    print(f"{PAGE.relative_to(ROOT)}: {len(findings())} attacks")
