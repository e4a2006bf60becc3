"""The marks of tests as their source has them, read without importing it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path


def marks(path: Path, name: str) -> Iterator[tuple[str, ast.Call]]:
    """Each `@pytest.mark.NAME(...)` of a file, behind the name of the function that has it."""
    text, mark = path.read_text("utf-8"), f"pytest.mark.{name}"
    for node in _functions(text) if mark in text else ():
        for one in node.decorator_list:
            if isinstance(one, ast.Call) and ast.unparse(one.func) == mark:
                yield node.name, one


@cache
def _functions(text: str) -> list[ast.FunctionDef]:
    return [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.FunctionDef)]
