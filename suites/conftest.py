"""A lab's own tests, in suites/local: they get their marks here and need to name none."""

from pathlib import Path

import pytest

LOCAL = Path(__file__).parent / "local"


def pytest_itemcollected(item: pytest.Item) -> None:
    """Make what lies in suites/local part of the acceptance run, after the suites of the guide.

    It has no number of pytest-order's, which has all that have one run first.
    """
    if LOCAL in item.path.parents:
        item.add_marker(pytest.mark.acceptance)
        item.add_marker(pytest.mark.local)
