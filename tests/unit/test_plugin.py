"""The plugin, on mini-suites that it runs as it runs the real one."""

from __future__ import annotations

import re
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness import exits
from harness.record.trace import KINDS
from tests.sample import during
from tests.unit.mini import EVENT, SCHEMA, SUITE, Mini, sample


def test_a_good_run(tmp_path: Path) -> None:
    mini = Mini(tmp_path / "a run", during.tell_secrets)
    status, out = mini.pytest("-m", "acceptance")
    assert status == 0, out
    assert "5 passed" in out
    assert "host: put back (3 changes undone)" in out
    assert "[two] ok (provisioned)" in out
    assert mini.made() == []
    assert mini.journals() == []
    text = (mini.last / "record.jsonl").read_text()
    assert "hush-hush" not in text
    assert "s3cr3t" not in text
    undone = [e["stage"] for e in mini.record() if e["kind"] == "undo"]
    assert undone == ["three", "two", "one"]
    assert next(e["clauses"] for e in mini.record() if e["kind"] == "test") == ["a.one"]


def test_the_record_keeps_to_its_schema(tmp_path: Path) -> None:
    mini = Mini(tmp_path / "m", during.tell_a_fact_and_fail)
    mini.pytest("-m", "acceptance")
    events = mini.record()
    assert {e["kind"] for e in events} == {*KINDS} == {*SCHEMA["properties"]["kind"]["enum"]}
    for event in events:
        assert not EVENT.is_valid(event | {"more": 1})
        assert not EVENT.is_valid({key: event[key] for key in ("kind", "time", "at")})


def test_a_broken_stage_is_one_error_and_named_skips(tmp_path: Path) -> None:
    mini = Mini(tmp_path / "m", during.find_no_card)
    status, out = mini.pytest("-m", "acceptance", "-rEs")
    assert status == 1
    assert "2 passed, 1 error, 2 blocked in" in out
    assert "ERROR at setup of stage 'two' __" in out
    assert "\nERROR test_mini.py::stage 'two' - Stage 'two' failed: No card." in out
    assert out.count("Stage 'two' failed: No card.") == 2
    assert "::test_two" not in out
    assert "put one in" in out
    assert "Traceback" not in out
    assert '\nblocked, 2 tests: stage "two" failed: No card.\n' in out
    assert "SKIPPED" not in out
    skipped = [e for e in mini.record() if e["kind"] == "test" and e["outcome"] == "skipped"]
    assert [e["nodeid"].partition("::")[2] for e in skipped] == ["test_two_again", "test_three"]
    assert all('stage "two" failed: No card.' in e["message"] for e in skipped)
    assert mini.made() == []
    failure = mini.last / "evidence" / "test_mini.py" / "test_two" / "failure.txt"
    assert "during" in failure.read_text()


def test_a_stages_fixture_that_fails_by_itself_is_a_broken_stage(tmp_path: Path) -> None:
    mini = Mini(tmp_path / "m", suite=sample("suite_question"))
    status, out = mini.pytest("-m", "acceptance", "-rEs")
    assert status == 1, out
    assert "1 error, 1 blocked in" in out
    assert "ERROR at setup of stage 'question' __" in out
    failed = "Stage 'question' failed: Nobody answers."
    assert f"\nERROR test_mini.py::stage 'question' - {failed}" in out
    assert "hint: ask again" in out
    assert "::test_words" not in out
    assert "Traceback" not in out
    [skipped] = [e for e in mini.record() if e["kind"] == "test" and e["outcome"] == "skipped"]
    assert skipped["status"] == "blocked"
    assert 'stage "question" failed: Nobody answers.' in skipped["message"]
    assert mini.made() == []


def test_evidence_is_collected_while_things_are_up(tmp_path: Path) -> None:
    """It has a deadline of its own: it is not on the time of the test that failed."""
    mini = Mini(tmp_path / "m", suite=sample("suite_evidence"))
    status, out = mini.pytest("-m", "acceptance")
    assert status == 1, out
    assert "1 failed, 1 passed" in out
    assert "the failure itself" in out
    assert "def test_bad" not in out, "what to do is told without code; that is evidence"
    folder = mini.last / "evidence" / "test_mini.py" / "test_bad"
    assert str(folder.resolve()) in out
    assert "def test_bad" in (folder / "failure.txt").read_text()
    assert (folder / "alarm.txt").read_text() == "it rings"
    assert "ZeroDivisionError" in (folder / "broken.txt").read_text()
    assert (folder / "listing.txt").read_text().strip() == str(mini.host / "made-one")
    assert mini.made() == []


@pytest.mark.case(
    "time limits, ends",
    "SIGTERM of a cancelled CI job, at which pytest tears nothing down",
    source="pytest #5243",
)
@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_in_a_stage_undoes_everything(tmp_path: Path, signum: int) -> None:
    mini = Mini(tmp_path / "m", during.hang)
    process = mini.start("-m", "acceptance")
    process.until("hung")
    process.send_signal(signum)
    status, out = process.finish()
    assert status == 2, out
    assert "host: put back (2 changes undone)" in out
    assert mini.made() == []
    assert mini.journals() == []
    assert not (mini.state / "journal" / "host.lock").exists()


def test_a_second_run_is_refused_by_name(tmp_path: Path) -> None:
    mini = Mini(tmp_path / "m", during.hang)
    first = mini.start("-m", "acceptance")
    first.until("hung")
    status, out = mini.pytest("-m", "acceptance")
    assert status == exits.REFUSED
    assert f"process {first.pid}," in out
    assert "1 error" in out
    assert "4 not assessed in" in out
    assert {e["status"] for e in mini.record() if e["kind"] == "test"} == {"not assessed"}
    status, out = mini.pytest("--recover")
    assert status == exits.REFUSED
    assert f"process {first.pid}," in out
    assert mini.made() == ["made-one", "made-two"]  # it took nothing away from the first
    first.send_signal(signal.SIGTERM)
    first.finish()
    assert mini.made() == []


def test_an_undo_that_fails_is_told_and_the_rest_runs(tmp_path: Path) -> None:
    mini = Mini(tmp_path / "m", during.leave_what_cannot_be_undone)
    status, out = mini.pytest("-m", "acceptance")
    assert status == exits.RESIDUE
    assert "5 passed" in out
    assert "host: NOT put back: 3 changes undone, 1 could not be" in out
    assert "LEFT ON THE HOST [two] stuck: failed" in out
    assert "why" in out
    assert mini.made() == []
    assert mini.record()[-1]["exit_status"] == exits.RESIDUE
    assert len(mini.journals()) == 1


@pytest.mark.parametrize(
    ("keep", "two", "kept"),
    [
        ("always", during.nothing, True),
        ("on-failure", during.nothing, False),
        ("on-failure", during.fail, True),
        ("never", during.fail, False),
    ],
)
def test_keep(tmp_path: Path, keep: str, two: Callable[[Any], None], kept: bool) -> None:
    mini = Mini(tmp_path / "m", two)
    _, out = mini.pytest("-m", "acceptance", "--keep", keep)
    assert bool(mini.made()) == kept
    assert ("to clean up: python -m harness recover" in out) == kept
    if kept:
        assert mini.pytest("--recover")[0] == 0
        assert mini.made() == []


@pytest.mark.parametrize(
    ("args", "environ", "says"),
    [
        (["-m", "acceptance", "--profile", "nowhere"], {}, "profiles here: vlab"),
        (["-m", "acceptance"], {"ACCEPT_NAME": ""}, "a string that is not empty"),
        ([], {"ACCEPT_TARGET__KIDN": "local"}, "did you mean 'kind'?"),
    ],
)
def test_a_bad_profile_touches_nothing(
    tmp_path: Path, args: list[str], environ: dict[str, str], says: str
) -> None:
    mini = Mini(tmp_path / "m")
    status, out = mini.pytest(*args, environ=environ)
    assert status == pytest.ExitCode.USAGE_ERROR
    assert says in out
    assert "Traceback" not in out
    assert not mini.state.exists()
    assert not (mini.folder / "reports").exists()


def test_the_own_machine_needs_consent(tmp_path: Path) -> None:
    mini = Mini(tmp_path / "m")
    status, out = mini.pytest("-m", "acceptance", local=False)
    assert status == pytest.ExitCode.USAGE_ERROR
    assert "--allow-local" in out
    for args in ([], ["--recover"]):
        assert mini.pytest(*args, local=False)[0] == pytest.ExitCode.USAGE_ERROR
    for args in (["--show-profile"], ["--plan", "-m", "acceptance"]):
        assert mini.pytest(*args, local=False)[0] == 0
    assert not mini.state.exists()
    assert not (mini.folder / "reports").exists()


def test_show_profile(tmp_path: Path) -> None:
    mini = Mini(tmp_path / "m")
    status, out = mini.pytest("--show-profile", environ={"ACCEPT_POLICY__KEEP": "always"})
    assert status == 0
    assert 'keep = "always"' in out
    assert "hush" not in out
    assert not (mini.folder / "reports").exists()


@pytest.mark.parametrize("args", [["--collect-only", "-m", "acceptance"], ["-m", "not acceptance"]])
def test_no_run_no_folder(tmp_path: Path, args: list[str]) -> None:
    mini = Mini(tmp_path / "m", suite=SUITE + "\n\ndef no_test():\n    pass\n")
    _, out = mini.pytest(*args)
    assert not (mini.folder / "reports").exists(), out


def test_a_stage_whose_time_is_up_has_failed_and_says_why(tmp_path: Path) -> None:
    mini = Mini(tmp_path / "m", during.ring)
    status, out = mini.pytest("-m", "acceptance")
    assert status == 1, out
    assert "2 passed, 1 error, 2 blocked in" in out
    assert """stage "two" failed: Time is up for test 'test_two': 1000 s.""" in out
    failed = next(e for e in mini.record() if e["kind"] == "test" and e["outcome"] == "error")
    assert re.search(r"^at work: \[two\] sh .*sleep 1000.* \(for \d+ s\)$", failed["message"], re.M)
    assert re.search(r"^load: \d+\.\d on the \d+ cores of this machine$", failed["message"], re.M)
    trace = mini.last / "evidence" / "test_mini.py" / "test_two" / "failure.txt"
    assert "in execute" in trace.read_text(), "where it was"
    assert mini.made() == []


def test_never_provision_never_changes(tmp_path: Path) -> None:
    mini = Mini(tmp_path / "m")
    status, out = mini.pytest("-m", "acceptance", "--provision", "never")
    assert status == 1
    assert "Stage 'one' failed: " in out
    assert "1 error, 4 blocked in" in out
    assert mini.made() == []
    assert [e for e in mini.record() if e["kind"] == "undo"] == []


def test_restore_takes_back_what_is_durable(tmp_path: Path) -> None:
    mini = Mini(tmp_path / "m", during.change_for_later_runs)
    path = mini.host / "kept file"
    path.write_text("before")
    assert mini.pytest("-m", "acceptance")[0] == 0
    assert path.read_text() == "after"
    assert len(mini.journals()) == 1
    assert mini.pytest("-m", "acceptance", "--restore")[0] == 0
    assert path.read_text() == "before"
    assert mini.journals() == []
    assert not mini.state.exists()


def test_pytest_alone_starts_nothing(tmp_path: Path) -> None:
    mini = Mini(tmp_path / "m")
    status, out = mini.pytest()
    assert status == pytest.ExitCode.NO_TESTS_COLLECTED
    assert "Nothing is started on a lab unasked: pytest -m acceptance" in out
    assert not mini.state.exists()
