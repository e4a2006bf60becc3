"""--plan: what would be done, in the order in which it would be, and nothing of it done."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from tests.unit.mini import PLUGINS, REPORTS, Mini, sample

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


def test_a_run_says_first_what_it_is_about_and_where_it_has_come_to(tmp_path: Path) -> None:
    mini = Mini(tmp_path / "m", **PLANNED | {"plugins": [*PLANNED["plugins"], REPORTS]})
    status, out = mini.pytest("-m", "acceptance")
    assert status == 0, out
    run = mini.last.resolve().name
    assert f"lab mini (this very machine), run {run}: 2 tests, 3 stages\n" in out
    assert "is put back at the end; kept for later runs: lower (--plan lists it" in out
    assert "usually" not in out
    lines = [line for line in out.splitlines() if "ok (provisioned)" in line]
    ways = [re.fullmatch(r"(\d/3) \d:\d\d \[(\w+)\] ok .*", line) for line in lines]
    assert [way and way.groups() for way in ways] == [
        ("1/3", "lower"),
        ("2/3", "upper"),
        ("3/3", "looks"),
    ]
    assert "[lower] ok" in {e["text"][:10] for e in mini.record() if e["kind"] == "progress"}
    _, out = mini.pytest("-m", "acceptance", "--keep", "always")
    assert "what is changed on the host stays (--keep always)" in out
    assert re.search(
        r"^usually it takes \d+ s, undo included \(good runs before: 1\)$", out, re.MULTILINE
    )
    assert "host: left as it is (--keep)" in out
