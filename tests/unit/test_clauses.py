"""Clauses, tests and the guide's known mistakes belong together; another guide is told."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pydantic
import pytest

from fixtures.guide import clauses, plugin
from fixtures.guide.clauses import Asserted, Avoided, Clauses
from harness import exits
from harness.__main__ import main
from tests.unit.mini import ROOT

GUIDE = """\
# 标题
第一段，
有两行。

## 节
- 项一；
- 项二。
    ```bash
    # no heading
    run  --this

    and that
    ```
> 引用
> ```bash
> quoted
> ```
"""
TEXTS = ["第一段，\n有两行。", "- 项一；", "- 项二。", "# no heading\nrun  --this\nand that"]
TEXTS += ["引用", "quoted"]


def suite_tests() -> Iterator[tuple[str, list[str]]]:
    """Every test of the suites, by its id, with the clauses that it names."""
    for path in sorted((ROOT / "suites").glob("test_*.py")):
        for node in ast.parse(path.read_text("utf-8")).body:
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                marks = [d for d in node.decorator_list if isinstance(d, ast.Call)]
                named = [m for m in marks if ast.unparse(m.func) == "pytest.mark.clause"]
                ids = [ast.literal_eval(arg) for mark in named for arg in mark.args]
                yield f"suites/{path.name}::{node.name}", ids


def test_every_test_names_a_clause_and_every_clause_has_a_test() -> None:
    tests = dict(suite_tests())
    assert [test for test, ids in tests.items() if not ids] == []
    known, named = set(clauses.load().by_id), {id for ids in tests.values() for id in ids}
    assert sorted(named - known) == []
    assert sorted(known - named) == []


def test_errors_of_the_stages_name_clauses_that_there_are() -> None:
    sources = "".join(path.read_text("utf-8") for path in (ROOT / "fixtures").rglob("*.py"))
    named = set(re.findall(r'clause ?= ?"([^"]+)"', sources))
    assert named
    assert sorted(named - set(clauses.load().by_id)) == []


def test_each_of_the_44_traps_is_accounted_for_once() -> None:
    numbers = [trap.number for trap in clauses.load().trap]
    assert numbers == list(range(1, 45))


def test_what_a_trap_points_at_is_there() -> None:
    tests = dict(suite_tests())
    for trap in clauses.load().trap:
        if isinstance(trap, Asserted):
            assert trap.test in tests, f"trap {trap.number}"
        if isinstance(trap, Avoided):
            file, _, name = trap.where.partition("::")
            assert _defines(ROOT / file, name.split(".")), f"trap {trap.number}: {trap.where}"


def _defines(path: Path, names: list[str]) -> bool:
    body: list[ast.stmt] = ast.parse(path.read_text("utf-8")).body
    for name in names:
        found = [node for node in body if name in _names(node)]
        if not found:
            return False
        body = getattr(found[0], "body", [])
    return True


def _names(node: ast.stmt) -> list[str]:
    if isinstance(node, ast.Assign):
        return [target.id for target in node.targets if isinstance(target, ast.Name)]
    return [getattr(node, "name", "")]


def test_no_text_of_the_guide_is_kept_but_its_digests() -> None:
    for clause in clauses.load().clause:
        assert clauses.digest(clause.title) not in clause.text
        assert clauses.digest(clause.zh) not in clause.text


def test_a_record_can_be_read_without_the_file() -> None:
    fact = cast(dict[str, Any], clauses.as_fact())
    assert re.fullmatch("[0-9a-f]{64}", fact["sha256"])
    assert fact["guide"]["sha256"] == clauses.load().guide.sha256
    by_id = {clause["id"]: clause for clause in fact["clauses"]}
    assert "Kunpeng" in by_id["platform.tee"]["not_assessed"]["vlab"]
    assert not any("text" in clause for clause in fact["clauses"])


def test_blocks_of_a_guide() -> None:
    found = list(clauses.blocks(GUIDE))
    assert [block.text for block in found] == TEXTS
    assert [block.section for block in found] == ["标题"] + ["节"] * 5
    assert [block.line for block in found] == [2, 6, 7, 9, 14, 16]


def made_for(text: str) -> Clauses:
    """Clauses for a guide: one a block, s.0, s.1 ..."""
    there = [block.digest for block in clauses.blocks(text)]
    return Clauses.model_validate(
        {
            "format": 1,
            "guide": {"title": "t", "source": "s", "sha256": clauses.digest(text)},
            "clause": tuple(
                {"id": f"s.{n}", "section": "", "title": "", "zh": "", "text": (sha,)}
                for n, sha in enumerate(there)
            ),
            "trap": (),
        }
    )


@pytest.mark.parametrize(
    ("before", "after", "touched", "new"),
    [
        ("\n", "\r\n", [], []),
        ("    run  --this", "\trun --this", [], []),
        ("项一", "项三", ["s.1"], [6]),
        ("quoted", "quoted\n> more", ["s.5"], [16]),
        ("> 引用\n", "", ["s.4"], []),
        ("## 节", "另一段\n## 节", [], [5]),
    ],
)
def test_drift(before: str, after: str, touched: list[str], new: list[int]) -> None:
    copy = GUIDE.replace(before, after)
    found = clauses.drift(made_for(GUIDE), copy)
    assert found.drifted == bool(touched or new)
    assert [clause.id for clause in found.touched] == touched
    assert [block.line for block in found.new] == new


def test_a_renamed_heading_is_drift_that_touches_no_clause() -> None:
    found = clauses.drift(made_for(GUIDE), GUIDE.replace("## 节", "## 章"))
    assert (found.drifted, found.touched, found.new) == (True, (), ())


def config_with(guide: Path) -> pytest.Config:
    return cast(pytest.Config, SimpleNamespace(option=SimpleNamespace(guide=guide)))


def test_the_option_tells_of_another_guide(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = tmp_path / "guide.md"
    copy.write_text("# another\n\nsomething else\n", "utf-8")
    assert plugin.pytest_cmdline_main(config_with(copy)) == 1
    said = capsys.readouterr().out
    assert main(["guide", str(copy)]) == 1
    assert capsys.readouterr().out == said
    assert "changed or gone: rootfs.resize (配置rootfs.img)" in said
    assert "in no clause: line 3 (another): something else" in said


def test_a_guide_that_is_not_there_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(pytest.UsageError, match="cannot be read"):
        plugin.pytest_cmdline_main(config_with(tmp_path / "none.md"))
    assert main(["guide", str(tmp_path / "none.md")]) == exits.USAGE


def test_a_clause_needs_text_or_a_reason() -> None:
    with pytest.raises(pydantic.ValidationError, match=r"a\.b: text of the guide, or the reason"):
        clauses.Clause(id="a.b", section="", title="", zh="")


def test_a_marker_with_an_unknown_clause_stops_the_collection() -> None:
    def item(*ids: str) -> pytest.Item:
        mark = pytest.mark.clause(*ids).mark
        found = SimpleNamespace(
            nodeid="suites/test_x.py::test_y",
            get_closest_marker=lambda name: pytest.mark.acceptance.mark,
            iter_markers=lambda name: [mark],
        )
        return cast(pytest.Item, found)

    plugin.pytest_collection_modifyitems([item("gpu.bind", "gpu.node")])
    with pytest.raises(pytest.UsageError, match=r"test_y: names clause 'gpu\.bnid'.*gpu\.bind"):
        plugin.pytest_collection_modifyitems([item("gpu.bind"), item("gpu.bnid")])
