"""A test that fails between two that do not."""

import pytest

from tests.sample.stages import Made

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(1000)]


def test_good(two: Made) -> None: ...


def test_bad(two: Made) -> None:
    assert two is None, "the failure itself"


def test_after(two: Made) -> None: ...
