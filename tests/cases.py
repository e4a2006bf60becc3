"""The cases from the field that a unit test holds: `python -m tests.cases` writes docs/cases.md.

A test that holds one is marked `@pytest.mark.case(area, case, source=...)`: what was met, in a few
words, and where (an upstream issue or source file, or the real program's name and version). As the
table is made of the marks, it names no test that is not there; `tests/unit/test_cases.py` compares
it with the file.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.marks import marks

ROOT = Path(__file__).parents[1]
TABLE = ROOT / "docs" / "cases.md"
HEAD = """# Cases from the field

What real programs print and people report, and the test that holds each. Made by
`python -m tests.cases` of the marks `case` of the unit tests; CONTRIBUTING.md says how to add one.
"""


@dataclass(frozen=True, order=True)
class Case:
    """A case: the part of the chain that it is about, what was met and where, and its test."""

    area: str
    case: str
    source: str
    test: str


def cases(folder: Path = ROOT / "tests" / "unit") -> list[Case]:
    """All cases of a folder's tests, in order; ValueError for a mark that cannot be read."""
    return sorted(case for path in folder.rglob("test_*.py") for case in _of(path))


def _of(path: Path) -> Iterator[Case]:
    name = path.relative_to(ROOT) if path.is_relative_to(ROOT) else path
    for function, mark in marks(path, "case"):
        yield _case(mark, f"{name}::{function}")


def _case(mark: ast.Call, test: str) -> Case:
    try:
        area, case = map(ast.literal_eval, mark.args)
        [source] = [ast.literal_eval(k.value) for k in mark.keywords if k.arg == "source"]
        return Case(area, case, source, test)
    except ValueError as error:
        raise ValueError(
            f"{test}: a case is (area, case, source=...), all of them texts"
        ) from error


def table() -> str:
    """The file's text: a table for each area."""
    found = cases()
    parts = [HEAD]
    for area in sorted({case.area for case in found}):
        rows = [f"| {c.case} | {c.source} | `{c.test}` |" for c in found if c.area == area]
        head = [f"## {area}\n", "| case | source | test |", "| --- | --- | --- |"]
        parts.append("\n".join([*head, *rows]))
    return "\n\n".join(part.strip() for part in parts) + "\n"


if __name__ == "__main__":
    TABLE.write_text(table(), encoding="utf-8")
    print(f"{TABLE.relative_to(ROOT)}: {len(cases())} cases")
