"""What may be called qualified: every test and clause, on real parts, in a run that ended well."""

from __future__ import annotations

import dataclasses
import subprocess
from pathlib import Path
from typing import Any

import pytest

from fixtures.common.parts import part
from harness import exits
from harness.record.revision import commit
from reports.record import reading, verdict
from tests.sample import during
from tests.unit import records
from tests.unit.mini import PLUGINS, Mini, sample

GUIDE = {"clauses": [{"id": "gpu.bind"}, {"id": "gpu.reset"}, {"id": "model.answer"}]}
NOTE = records.PASSED | {"more": ("skipped", "not assessed: why")}
STAND_IN = records.parts(part("GPU", "stand-in", "1af4:1043"))
UNSEEN = records.parts(part("GPU", "not seen", "1002:1"), part("vLLM", "not seen", ""))
WAIVED = {
    "name": "stage gpu seconds",
    "state": "waived",
    "waiver": {"owner": "ann", "reason": "new card", "expires": "2030-01-31"},
}
# What is written of a run: (its verdict, a word of why).
RUNS: dict[str, tuple[dict[str, Any], str, str]] = {
    "whole": ({}, "qualified", ""),
    "a regression": (
        {"exit_status": 12, "facts": {"baseline": {"regression": True}}},
        "conditional",
        "worse than usual",
    ),
    "a waiver": (
        {"facts": {"baseline": {"regression": False, "measures": [WAIVED]}}},
        "conditional",
        "which ann has waived until 2030-01-31: new card",
    ),
    "stand-ins": ({"facts": {"parts": STAND_IN}}, "rehearsed", "stand-ins"),
    "stand-ins, kept": ({"facts": {"parts": STAND_IN}, "kept": True}, "rehearsed", "stand-ins"),
    "stand-ins, and what cannot be assessed": (
        {"tests": NOTE, "facts": {"parts": STAND_IN}},
        "rehearsed",
        "stand-ins",
    ),
    "a part not seen": ({"facts": {"parts": UNSEEN}}, "conditional", "are real: GPU"),
    "before there were parts": ({"facts": {"parts": ()}}, "conditional", "which parts are real"),
    "a changed harness": ({"commit": "c" * 40 + "+changes"}, "conditional", "harness"),
    "a harness of no commit": ({"commit": None}, "conditional", "harness"),
    "a changed harness on stand-ins": (
        {"commit": None, "facts": {"parts": STAND_IN}},
        "rehearsed",
        "harness",
    ),
    "kept": ({"kept": True}, "conditional", "left as it is"),
    "left out": ({"left_out": ["more"]}, "not assessed", "1 of 3 tests were not run"),
    "a suite left out": (
        {"left_out": ["suites/test_model.py::test_x"]},
        "not assessed",
        "model: not assessed",
    ),
    "clauses": ({"facts": {"guide": GUIDE}}, "not assessed", "for the clauses gpu.reset"),
    "by id": (
        {"facts": {"collected": {"tests": [], "only": [f"{records.NODE}bound"]}}},
        "not assessed",
        "only this was asked for: suites/test_gpu.py::test_bound",
    ),
    "an old record": ({"facts": {"collected": {}}}, "not assessed", "which tests there are"),
    "cut": ({"exit_status": None}, "not assessed", "has no end"),
    "interrupted": ({"exit_status": 2}, "not assessed", "interrupted"),
    "crashed": ({"exit_status": 3}, "not assessed", "exit status 3"),
    "unreachable": ({"exit_status": 10}, "not assessed", "exit status 10"),
    "failed besides": ({"exit_status": 1}, "not assessed", "none of its tests did"),
    "not put back": ({"exit_status": 11, "undo_failed": ["x"]}, "failed", "not as it was"),
}


@pytest.mark.parametrize("case", RUNS)
@pytest.mark.finding("F18", "a changed harness, or one of no commit, qualifies hardware")
def test_verdicts(tmp_path: Path, case: str) -> None:
    more, expected, why = RUNS[case]
    run = records.write(tmp_path / "run", **more)
    found = verdict.overall(run)
    assert found.verdict == expected
    every = [*found.reasons, *(r for part in verdict.capabilities(run) for r in part.reasons)]
    assert why in "\n".join(map(str, every))


@pytest.mark.parametrize(
    ("outcome", "message", "status", "expected"),
    [
        ("failed", "E   no", "failed", "failed"),
        ("skipped", 'stage "gpu" failed: no', "blocked", "failed"),
        ("skipped", "skipped: by hand", "skipped", "not assessed"),
        ("skipped", "not assessed: no such silicon", "not assessed", "conditional"),
    ],
)
def test_a_test_that_did_not_pass(
    tmp_path: Path, outcome: str, message: str, status: str, expected: str
) -> None:
    run = records.write(tmp_path / "run", records.PASSED | {"x": (outcome, message)})
    assert [test.status for test in run.tests] == ["passed", "passed", status]
    (part,) = verdict.capabilities(run)
    assert part.verdict == expected
    assert message.removeprefix("E   ") in "\n".join(map(str, part.reasons))


def test_an_altered_record_is_void(tmp_path: Path) -> None:
    run = records.write(tmp_path / "run", exit_status=1)
    found = verdict.overall(dataclasses.replace(run, altered=("line 3",)))
    assert (found.verdict, str(found.reasons[0])) == (
        "void",
        "The record or its evidence was altered.",
    )


def test_a_host_that_was_not_there_fails_nothing(tmp_path: Path) -> None:
    mini = Mini(tmp_path / "m", during.unreachable)
    status, _ = mini.pytest("-m", "acceptance")
    run = reading.load(mini.last)
    assert status == exits.UNREACHABLE
    assert not {test.status for test in run.tests} - {"passed", "not assessed"}
    assert verdict.overall(run).verdict == "not assessed"
    assert not [part for part in verdict.capabilities(run) if part.verdict == "failed"]


def test_profiles_of_ones_own_change_no_harness(tmp_path: Path) -> None:
    def git(*words: str) -> None:
        who = ("-c", "user.name=a", "-c", "user.email=a@example.org")
        subprocess.run(["git", *who, *words], cwd=tmp_path, check=True, capture_output=True)

    git("init")
    (tmp_path / "a.py").write_text("")
    (tmp_path / "profiles").mkdir()
    (tmp_path / "profiles" / "known.toml").write_text("")
    git("add", ".")
    git("commit", "-m", "a")
    known = commit(tmp_path)
    assert known is not None
    assert len(known) == 40
    for name in ("mine.toml", "实验室 1.toml"):
        (tmp_path / "profiles" / name).write_text("")
    assert commit(tmp_path) == known
    (tmp_path / "profiles" / "known.toml").write_text("changed")
    assert commit(tmp_path) == f"{known}+changes"
    git("checkout", "profiles/known.toml")
    (tmp_path / "b.py").write_text("")
    assert commit(tmp_path) == f"{known}+changes"


def test_a_capability_is_assessed_only_where_all_of_it_ran(tmp_path: Path) -> None:
    run = records.write(tmp_path / "run", left_out=["more"], exit_status=2)
    assert [(part.name, part.verdict) for part in verdict.capabilities(run)] == [
        ("gpu", "not assessed")
    ]


def test_the_harness_tells_all_kinds_apart(tmp_path: Path) -> None:
    mini = Mini(tmp_path / "m", during.fail, suite=sample("suite_kinds"))
    mini.pytest("-m", "acceptance", "-k", "not again")
    assert {e["nodeid"][19:]: e["status"] for e in mini.record() if e["kind"] == "test"} == {
        "one": "passed",
        "known": "expected failure",
        "better": "unexpected pass",
        "by_hand": "skipped",
        "here": "not assessed",
        "two": "error",
    }
    run = reading.load(mini.last)
    assert len(run.collected["tests"]) == 7, "what -k takes away is there all the same"
    assert run.collected["only"] == []
    (part,) = verdict.capabilities(run)
    assert "1 of 7 tests were not run" in map(str, part.reasons)
    mini.pytest("-m", "acceptance", "test_mini.py::test_one")
    assert reading.load(mini.last).collected["only"] == ["test_mini.py::test_one"]
    mini.pytest("-m", "acceptance", "-k", "again or two")
    statuses = [test.status for test in reading.load(mini.last).tests]
    assert statuses == ["error", "blocked"]


@pytest.mark.parametrize(
    ("what", "status"),
    [("an internal error", exits.HARNESS_ERROR), ("pytest.exit", exits.PASSED)],
)
def test_a_run_that_ended_midway_is_not_assessed(tmp_path: Path, what: str, status: int) -> None:
    mini = Mini(tmp_path / "m", plugins=[*PLUGINS, "tests.sample.strikes"])
    assert mini.pytest("-m", "acceptance", environ={"MINI_STRIKES": what})[0] == status
    run = reading.load(mini.last)
    assert [part.verdict for part in verdict.capabilities(run)] == ["not assessed"]
    assert verdict.overall(run).verdict == "not assessed"


def test_a_suite_that_cannot_be_collected_is_not_assessed(tmp_path: Path) -> None:
    mini = Mini(tmp_path / "m")
    (mini.folder / "test_broken.py").write_text("import nowhere")
    mini.pytest("-m", "acceptance", "--continue-on-collection-errors")
    found = verdict.overall(reading.load(mini.last))
    assert (found.counts, found.verdict) == ({"passed": 5}, "not assessed")


def test_what_another_suite_looks_at_limits_none(tmp_path: Path) -> None:
    unseen = {"parts": records.parts(part("vLLM", "not seen", ""))}
    assert verdict.overall(records.write(tmp_path / "run", facts=unseen)).verdict == "qualified"


def test_a_stand_in_excuses_no_failure(tmp_path: Path) -> None:
    tests = records.PASSED | {"x": ("failed", "E   no")}
    run = records.write(tmp_path / "run", tests, facts={"parts": STAND_IN}, exit_status=1)
    assert verdict.overall(run).verdict == "failed"
