"""The attacks that a test shows to fail: `python -m tests.findings` writes the table of them.

A test that holds one is marked `@pytest.mark.finding(id, attack)`: a finding's number in the review
of security (F1 to F20), and what was tried, in a few words. The table is the end of
docs/security.md; as it is made of the marks, it names no test that is not there.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "security.md"
HEAD = "## Attacks, and the test that shows each to fail\n"
ROW = "| {} | {} | `{}` |"


def findings() -> list[tuple[int, str, str]]:
    """Number, attack and test of each, in order."""
    return sorted(
        found for folder in ("unit", "bench") for path in (ROOT / "tests" / folder).rglob("*.py")
        if path.is_file() for found in _of(path)
    )  # fmt: skip


def _of(path: Path) -> Iterator[tuple[int, str, str]]:
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.FunctionDef):
            test = f"{path.relative_to(ROOT)}::{node.name}"
            for mark in node.decorator_list:
                if isinstance(mark, ast.Call) and ast.unparse(mark.func) == "pytest.mark.finding":
                    number, attack = map(ast.literal_eval, mark.args)
                    yield int(number.removeprefix("F")), attack, test


def page() -> str:
    """The page's text: what is written by hand, and the table."""
    text = PAGE.read_text(encoding="utf-8").partition(HEAD)[0]
    rows = [ROW.format(f"F{number}", *rest) for number, *rest in findings()]
    return "\n".join([text + HEAD, "| | attack | test |", "| --- | --- | --- |", *rows]) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    print(f"{PAGE.relative_to(ROOT)}: {len(findings())} attacks")
