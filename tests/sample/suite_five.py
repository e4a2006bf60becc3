"""The suite of the stage of five changes; copied as a test module of the run's folder."""

import pytest


@pytest.mark.acceptance
def test_five(five: str) -> None:
    assert five
