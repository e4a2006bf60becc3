"""Tests that tell how much time they have; MINI_MARK is what they are marked with."""

import os

import pytest

from tests.sample.budget import Tell

pytestmark = getattr(pytest.mark, os.environ["MINI_MARK"])


def test_a(slow: None, tell: Tell) -> None:
    tell("a")


@pytest.mark.skip(reason="why")
def test_b(slow: None, tell: Tell) -> None: ...


def test_c(free: None, tell: Tell) -> None:
    tell("c")
