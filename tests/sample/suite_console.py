"""A fixture that writes evidence of its own, as a lab's console does."""

from typing import Any

import pytest

from harness.run.stage import Run


@pytest.fixture(scope="session")
def console(run: Run[Any]) -> None:
    path = run.dir / "evidence" / "console.log"
    path.parent.mkdir()
    path.write_text("booted with s3cr3t-value")


@pytest.mark.acceptance
def test_one(console: None) -> None: ...
