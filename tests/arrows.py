"""The import graph by folder: `python -m tests.arrows [FOLDER ...]` prints it.

A box is a module or a package right in a folder. Its floor is 0 where it imports no other box of
the folder, else one above the highest that it imports. `tests/unit/test_arrows.py` says which
arrows there may be.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator, Sequence
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

ROOT = Path(__file__).parents[1]
FOLDERS = ["suites", "fixtures", "harness", "reports", "vlab"]


@cache
def arrows() -> dict[str, set[str]]:
    """Each module, and all that it imports, wherever the import stands in it."""
    files = {}
    for path in (path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py")):
        if path.is_dir():  # a run's evidence is in folders that are named after test modules
            continue
        words = path.relative_to(ROOT).with_suffix("").parts
        files[".".join(words[:-1] if words[-1] == "__init__" else words)] = path
    return {
        name: {*_imported(path.read_text("utf-8"), {*files})} - {name}
        for name, path in files.items()
    }


def _imported(text: str, modules: set[str]) -> Iterator[str]:
    for node in _statements(ast.parse(text)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names = (f"{node.module}.{alias.name}" for alias in node.names)
            yield from (name if name in modules else node.module for name in names)


def _statements(block: ast.AST) -> Iterator[ast.AST]:
    """Those of a block, and of the blocks in it: no expression has an import in it."""
    for node in ast.iter_child_nodes(block):
        if isinstance(node, ast.stmt | ast.excepthandler | ast.match_case):
            yield node
            yield from _statements(node)


def among(module: str, folders: Sequence[str]) -> bool:
    """Whether a module is one of these folders, or in one of them."""
    return any(f"{module}.".startswith(f"{folder}.") for folder in folders)


def boxes(folder: str) -> dict[str, set[str]]:
    """The modules and packages right in a folder, and which of them each imports."""
    found: dict[str, set[str]] = {}
    for module, others in arrows().items():
        if among(module, [folder]) and module != folder:
            box = module.split(".")[1]
            near = {other.split(".")[1] for other in others if other.startswith(f"{folder}.")}
            found[box] = found.get(box, set()) | near - {box}
    return found


def outside(folder: str, box: str) -> list[str]:
    """The boxes of other folders that a box imports, as `folder.box`."""
    found = {
        ".".join(other.split(".")[:2])
        for module, others in arrows().items()
        if among(module, [f"{folder}.{box}"])
        for other in others
        if among(other, FOLDERS) and not among(other, [folder])
    }
    return sorted(found)


def _report(folder: str) -> Iterator[str]:
    """The lines about a folder; where boxes import each other in a circle, no floors."""
    graph = boxes(folder)
    count = sum(len(others) for others in graph.values())
    floors: dict[str, int] = {}
    circle = "no circle"
    try:
        for box in TopologicalSorter(graph).static_order():
            floors[box] = 1 + max((floors[other] for other in graph[box]), default=-1)
    except CycleError as error:
        floors = {}
        circle = f"a circle: {' -> '.join(reversed(error.args[1]))}"
    height = f"{len({*floors.values()})} floors, " if floors else ""
    yield f"{folder}: {len(graph)} boxes, {height}{count} arrows, {circle}"
    for box in sorted(graph, key=lambda box: (-floors.get(box, 0), box)):
        floor = f"{floors[box]:3}" if floors else "   "
        inside = " ".join(sorted(graph[box])) or "-"
        others = " ".join(outside(folder, box))
        yield f"{floor}  {box}: {inside}" + (f"  | {others}" if others else "")


def main(folders: Sequence[str]) -> None:
    """Print the graph of each folder: its boxes by floor, and what each imports, `|` outside."""
    for folder in folders:
        print(*_report(folder), sep="\n", end="\n\n")


if __name__ == "__main__":
    main(sys.argv[1:] or FOLDERS)
