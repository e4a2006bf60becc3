"""The marks of the suites, and their order, which no suite states itself.

`test_gpu.py` is the suite of stage `gpu`; its tests have the mark `gpu`. Suites run in the order
of their clauses in docs/clauses.toml; after them a lab's own tests, which are in `local/`.
"""

from pathlib import Path

import pytest

from fixtures.guide import clauses
from harness.run.stage import DECLARED

LOCAL = Path(__file__).parent / "local"


def pytest_configure(config: pytest.Config) -> None:
    """Make each suite's name a mark, with what its stage says of itself."""
    for name in clauses.load().suites:
        if name in DECLARED:
            config.addinivalue_line("markers", f"{name}: {DECLARED[name].summary}")


def pytest_itemcollected(item: pytest.Item) -> None:
    """Give a test its marks; UsageError for a suite that has no stage, or no clause."""
    item.add_marker(pytest.mark.acceptance)
    if LOCAL in item.path.parents:
        item.add_marker(pytest.mark.local)  # and no number of pytest-order's: those run first
        return
    name, suites = item.path.stem.removeprefix("test_"), clauses.load().suites
    if name not in DECLARED or name not in suites:
        lacks = "clause in docs/clauses.toml" if name in DECLARED else "stage"
        raise pytest.UsageError(
            f"{item.path}: a suite has the name of a stage that has clauses, and '{name}' has no"
            f" {lacks}; there are: {', '.join(s for s in suites if s in DECLARED)}"
        )
    item.add_marker(name)
    item.add_marker(pytest.mark.order(suites.index(name)))
