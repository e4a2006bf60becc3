"""The plugin, on mini-suites that it runs as it runs the real one."""

from __future__ import annotations

import json
import os
import signal
import xml.etree.ElementTree as ET
from pathlib import Path

import jsonschema
import pytest

from tests.unit.mini import ROOT, SUITE, Mini

HANG = (
    'self.run.host.sh("echo hung; exec sleep 1000", on_line=lambda line: self.run.progress(line))'
)


def test_a_good_run(tmp_path: Path) -> None:
    mini = Mini(tmp_path / "a run", two='self.run.fact("word", "hush-hush s3cr3t-value")')
    status, out = mini.pytest("-m", "acceptance")
    assert status == 0, out
    assert "5 passed" in out
    assert "undo: 3 changes taken back, 0 could not be" in out
    assert "[two] ok (provisioned)" in out
    assert mini.made() == []
    assert mini.journals() == []
    cases = ET.parse(mini.last / "junit.xml").findall(".//testcase")
    assert len(cases) == 5
    text = (mini.last / "record.jsonl").read_text()
    assert "hush-hush" not in text
    assert "s3cr3t" not in text
    undone = [e["stage"] for e in mini.record() if e["kind"] == "undo"]
    assert undone == ["three", "two", "one"]
    assert next(e["clauses"] for e in mini.record() if e["kind"] == "test") == ["a.one"]


def test_the_record_keeps_to_its_schema(tmp_path: Path) -> None:
    mini = Mini(tmp_path / "m", two='self.run.fact("f", {"a": 1}); raise KeyError("x")')
    mini.pytest("-m", "acceptance")
    schema = json.loads((ROOT / "reports" / "record.schema.json").read_text())
    check = jsonschema.Draft202012Validator(schema)
    events = mini.record()
    for event in events:
        check.validate(event)
    assert {e["kind"] for e in events} == {*schema["properties"]["kind"]["enum"]}
    assert not check.is_valid(events[0] | {"more": 1})


def test_a_broken_stage_is_one_error_and_named_skips(tmp_path: Path) -> None:
    mini = Mini(
        tmp_path / "m",
        two='from harness.errors import LabError; raise LabError("No card.", hint="put one in")',
    )
    status, out = mini.pytest("-m", "acceptance")
    assert status == 1
    assert "2 passed, 2 skipped, 1 error in" in out
    assert out.count("Stage 'two' failed: No card.") == 1 + out.count(
        "ERROR test_mini.py::test_two"
    )
    assert "put one in" in out
    assert "Traceback" not in out
    assert out.count('stage "two" failed: No card.') >= 1
    skipped = [e for e in mini.record() if e["kind"] == "test" and e["outcome"] == "skipped"]
    assert [e["nodeid"].partition("::")[2] for e in skipped] == ["test_two_again", "test_three"]
    assert all('stage "two" failed: No card.' in e["message"] for e in skipped)
    assert mini.made() == []
    failure = mini.last / "evidence" / "test_mini.py" / "test_two" / "failure.txt"
    assert "during" in failure.read_text()


def test_evidence_is_collected_while_things_are_up(tmp_path: Path) -> None:
    suite = (
        SUITE
        + """

def test_bad(run, one):
    run.evidence.register("listing", lambda: run.host.run("ls", str(one)).out)
    run.evidence.register("broken", lambda: 1 / 0)
    assert one is None, "the failure itself"
"""
    )
    mini = Mini(tmp_path / "m", suite=suite)
    status, out = mini.pytest("-m", "acceptance")
    assert status == 1
    assert "the failure itself" in out
    folder = mini.last / "evidence" / "test_mini.py" / "test_bad"
    assert "made-one" in (folder / "listing.txt").read_text()
    assert "ZeroDivisionError" in (folder / "broken.txt").read_text()
    assert mini.made() == []


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_in_a_stage_undoes_everything(tmp_path: Path, signum: int) -> None:
    mini = Mini(tmp_path / "m", two=HANG)
    process = mini.start("-m", "acceptance")
    _until(process.stdout, "hung")
    process.send_signal(signum)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 2, out
    assert "undo: 2 changes taken back, 0 could not be" in out
    assert mini.made() == []
    assert mini.journals() == []
    assert not (mini.state / "journal" / "host.lock").exists()


def _until(stream: object, text: str) -> None:
    """Read a process's output until a line says `text`; it hangs up if it never does."""
    for line in stream:  # type: ignore[attr-defined]
        if text in line:
            return
    raise AssertionError(f"it ended without saying '{text}'")


@pytest.mark.parametrize("stage", ["one", "two", "three"])
def test_kill_9_and_recover(tmp_path: Path, stage: str) -> None:
    mini = Mini(tmp_path / "m")
    conftest = mini.folder / "conftest.py"
    kill = f'if self.name == "{stage}": import signal; os.kill(os.getpid(), signal.SIGKILL)'
    text = conftest.read_text().replace("        self.during()", f"        {kill}")
    conftest.write_text(text)
    status, _ = mini.pytest("-m", "acceptance")
    assert status == -signal.SIGKILL
    made = ["one", "two", "three"][: ["one", "two", "three"].index(stage) + 1]
    assert mini.made() == sorted(f"made-{name}" for name in made)
    if stage == "two":
        status, out = mini.pytest("-m", "acceptance")
        assert "pytest --recover" in out
        assert "is in use by" in out
        assert status == 1
    status, out = mini.pytest("--recover")
    assert status == 0, out
    assert f"{len(made)} changes taken back, 0 could not be." in out
    assert mini.made() == []
    assert mini.journals() == []
    assert not (mini.state / "journal" / "host.lock").exists()


def test_a_second_run_is_refused_by_name(tmp_path: Path) -> None:
    mini = Mini(tmp_path / "m", two=HANG)
    first = mini.start("-m", "acceptance")
    _until(first.stdout, "hung")
    status, out = mini.pytest("-m", "acceptance")
    assert status == 1
    assert f"process {first.pid}," in out
    assert "1 error" in out
    assert "4 skipped" in out
    status, out = mini.pytest("--recover")
    assert status == 1
    assert f"process {first.pid}," in out
    assert mini.made() == ["made-one", "made-two"]  # it took nothing away from the first
    first.send_signal(signal.SIGTERM)
    first.communicate(timeout=60)
    assert mini.made() == []


def test_an_undo_that_fails_is_told_and_the_rest_runs(tmp_path: Path) -> None:
    two = 'self.run.journal.record("two", "stuck", [["sh", "-c", "echo why >&2; exit 5"]])'
    mini = Mini(tmp_path / "m", two=two)
    status, out = mini.pytest("-m", "acceptance")
    assert status == 1
    assert "5 passed" in out
    assert "undo: 3 changes taken back, 1 could not be" in out
    assert "LEFT ON THE HOST [two] stuck: failed" in out
    assert "why" in out
    assert mini.made() == []
    assert mini.record()[-1]["exit_status"] == 1
    assert len(mini.journals()) == 1


@pytest.mark.parametrize(
    ("keep", "two", "kept"),
    [
        ("always", "pass", True),
        ("on-failure", "pass", False),
        ("on-failure", "raise KeyError", True),
        ("never", "raise KeyError", False),
    ],
)
def test_keep(tmp_path: Path, keep: str, two: str, kept: bool) -> None:
    mini = Mini(tmp_path / "m", two=two)
    _, out = mini.pytest("-m", "acceptance", "--keep", keep)
    assert bool(mini.made()) == kept
    assert ("to clean up: pytest --recover" in out) == kept
    if kept:
        assert mini.pytest("--recover")[0] == 0
        assert mini.made() == []


@pytest.mark.parametrize(
    ("args", "environ", "says"),
    [
        (["--profile", "nowhere"], {}, "profiles here: vlab"),
        ([], {"ACCEPT_TARGET__KIDN": "local"}, "did you mean 'kind'?"),
        ([], {"ACCEPT_NAME": ""}, "at least 1 character"),
    ],
)
def test_a_bad_profile_touches_nothing(
    tmp_path: Path, args: list[str], environ: dict[str, str], says: str
) -> None:
    mini = Mini(tmp_path / "m")
    status, out = mini.pytest("-m", "acceptance", *args, environ=environ)
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
    assert not mini.state.exists()


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


def test_a_fixture_that_is_not_there_is_told_first(tmp_path: Path) -> None:
    mini = Mini(tmp_path / "m", suite=SUITE + "\n\ndef test_x(one, tow):\n    assert tow\n")
    status, out = mini.pytest("-m", "acceptance")
    assert status == pytest.ExitCode.USAGE_ERROR
    assert "needs fixture 'tow'" in out
    assert not mini.state.exists()


def test_a_timeout_in_a_stage_is_that_stages_failure(tmp_path: Path) -> None:
    mini = Mini(tmp_path / "m", two='self.run.host.run("sleep", "1000")')
    status, out = mini.pytest("-m", "acceptance", "-o", "timeout=3")
    assert status == 1
    assert "2 passed, 2 skipped, 1 error in" in out
    assert 'stage "two" failed: Failed: Timeout' in out
    assert mini.made() == []


def test_never_provision_never_changes(tmp_path: Path) -> None:
    mini = Mini(tmp_path / "m")
    status, out = mini.pytest("-m", "acceptance", "--provision", "never")
    assert status == 1
    assert 'stage "one" failed' in out
    assert mini.made() == []
    assert [e for e in mini.record() if e["kind"] == "undo"] == []


def test_restore_takes_back_what_is_durable(tmp_path: Path) -> None:
    path = tmp_path / "kept file"
    path.write_text("before")
    two = (
        f'self.run.journal.save_file("two", "{path}", durable=True);'
        f' self.run.host.write("{path}", "after")'
    )
    mini = Mini(tmp_path / "m", two=two)
    assert mini.pytest("-m", "acceptance")[0] == 0
    assert path.read_text() == "after"
    assert len(mini.journals()) == 1
    assert mini.pytest("-m", "acceptance", "--restore")[0] == 0
    assert path.read_text() == "before"
    assert mini.journals() == []
    assert os.listdir(mini.state / "journal") == ["host.lock.guard"]
