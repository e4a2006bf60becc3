"""--plan: what would be done, in the order in which it would be, and nothing of it done."""

from __future__ import annotations

from pathlib import Path

from tests.unit.mini import Mini


def test_a_plan_names_the_stages_in_order_and_changes_nothing(tmp_path: Path) -> None:
    mini = Mini(tmp_path / "m")
    conftest = mini.folder / "conftest.py"
    staged = conftest.read_text() + PLANNED
    conftest.write_text(staged)
    (mini.folder / "test_planned.py").write_text(PLANNED_SUITE)
    status, out = mini.pytest("--plan", "-m", "acceptance", "test_planned.py")
    assert status == 0, out
    assert "Plan for profile 'mini' (target 'local'): 2 tests, 3 stages." in out
    assert out[out.index("1. lower") :].startswith(
        "1. lower (kept; reused if an earlier run made it of the same inputs)\n"
        "   - lays the ground for mini by ***\n"
        "2. upper (undone at the end)\n"
        "   - Stands on the lower one.\n"
        "3. looks (changes nothing)\n"
    )
    assert mini.made() == []
    assert not mini.state.exists()
    assert not (mini.folder / "reports").exists()


def test_a_plan_keeps_to_the_command_line(tmp_path: Path) -> None:
    mini = Mini(tmp_path / "m")
    (mini.folder / "conftest.py").open("a").write(PLANNED)
    (mini.folder / "test_planned.py").write_text(PLANNED_SUITE)
    _, out = mini.pytest("--plan", "--provision", "never", "test_planned.py::test_lower")
    assert "1 tests, 1 stages" in out
    assert "1. lower (only verified)" in out


PLANNED = '''

class Lower(Make):
    name = "lower"
    durable = True

    @classmethod
    def plan(cls, profile):
        return [f"lays the ground for {profile.name} by hush-hush"]


class Upper(Make):
    """Stands on the lower one.

    With more to say, which is not for a plan.
    """

    name = "upper"


class Looks(Stage):
    name = "looks"

    @classmethod
    def plan(cls, profile):
        return []


@pytest.fixture(scope="session")
def lower(run):
    """The lower."""
    return run.stage(Lower(run, "lower"))


@pytest.fixture(scope="session")
def upper(run, lower):
    """The upper."""
    return run.stage(Upper(run, "upper"))


@pytest.fixture(scope="session")
def looks(run, upper, lower):
    """Looks on."""
    return run.stage(Looks())
'''

PLANNED_SUITE = """
import pytest

pytestmark = pytest.mark.acceptance


def test_looks(looks):
    assert looks


def test_lower(lower):
    assert lower
"""
