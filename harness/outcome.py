"""What a test may say of itself besides passed and failed."""

from __future__ import annotations

from typing import NoReturn

import pytest

from harness.record.trace import NOT_ASSESSED


def not_assessed(reason: str) -> NoReturn:
    """End a test that cannot be carried out on this target, with the reason.

    It is no pass, and the record and the reports tell it from a skip for a stage that failed.
    """
    __tracebackhide__ = True
    pytest.skip(f"{NOT_ASSESSED}: {reason}")
