"""--plan: what would be done, in the order in which it would be, and nothing of it done."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.unit.mini import PLUGINS, Mini, sample

PLANNED: Any = {
    "suite": sample("suite_planned"),
    "plugins": [*PLUGINS, "tests.sample.planned"],
}


def test_a_plan_names_the_stages_in_order_and_changes_nothing(tmp_path: Path) -> None:
    mini = Mini(tmp_path / "m", **PLANNED)
    status, out = mini.pytest("--plan", "-m", "acceptance")
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
    mini = Mini(tmp_path / "m", **PLANNED)
    _, out = mini.pytest("--plan", "--provision", "never", "test_mini.py::test_lower")
    assert "1 tests, 1 stages" in out
    assert "1. lower (only verified)" in out
