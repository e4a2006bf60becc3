"""pytest's own `--setup-plan`: every fixture of the suites is there, in the guide's order."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from harness.run.stage import stage_classes
from tests.unit.mini import ROOT, SUITE, Mini, pytest_in


def _set_up(*words: str) -> str:
    """What pytest would set up, and for which test."""
    status, said = pytest_in(ROOT, "--setup-plan", *words)
    assert status == 0, said
    return said


@pytest.fixture(scope="module")
def planned() -> str:
    """Of all suites but a lab's own."""
    return _set_up("-m", "acceptance and not local", "--cycles", "2")


def test_tests_that_take_hours_have_all_that_they_ask_for() -> None:
    assert "test_kill_sweep.py" in _set_up("tests/sweep", "tests/clean", "tests/vlab")


def test_every_stage_has_its_fixture(planned: str) -> None:
    ours = {stage.name for stage in stage_classes() if stage.__module__.startswith("fixtures.")}
    assert ours, "the root conftest has them imported"
    assert ours == ours & set(re.findall(r"^SETUP +S (\w+)", planned, re.M))


def test_a_stage_is_first_asked_for_by_its_own_suite(planned: str) -> None:
    """Otherwise a broken stage would be told by a suite of another name."""
    suites = {path.stem.removeprefix("test_") for path in (ROOT / "suites").glob("test_*.py")}
    first: dict[str, str] = {}
    stages: list[str] = []
    for stage, suite in re.findall(r"^SETUP +S (\w+)|^ +suites/test_(\w+)\.py::", planned, re.M):
        if suite:
            first |= {stage: suite for stage in stages if stage not in first}
        else:
            stages.append(stage)
    assert {stage: suite for stage, suite in first.items() if stage in suites} == {
        suite: suite for suite in suites
    }


def test_a_fixture_that_is_missing_is_an_error_of_pytests(tmp_path: Path) -> None:
    suite = f"{SUITE}\n\ndef test_slip(oen):\n    pass\n"
    mini = Mini(tmp_path / "m", suite=suite)
    for words in (["--setup-plan"], ["--plan"]):
        status, out = mini.pytest(*words, "-m", "acceptance", local=False)
        assert status == pytest.ExitCode.TESTS_FAILED
        assert "fixture 'oen' not found" in out
        assert "available fixtures: " in out
        assert not mini.made()
        assert not (mini.folder / "reports").exists()
