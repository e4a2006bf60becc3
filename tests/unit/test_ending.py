"""The end of a run, and of a recovery, when something comes in between."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from harness import exits
from tests.sample import during, several
from tests.unit.mini import PLUGINS, Mini, sample


def _ended(mini: Mini, status: int, undone: int) -> None:
    """The host is as it was, and the record says how the run ended."""
    assert mini.made() == []
    assert mini.journals() == []
    assert not (mini.state / "journal" / "host.lock").exists()
    last = mini.record()[-1]
    assert (last["state"], last["exit_status"], last["undone"]) == ("ended", status, undone)


@pytest.mark.parametrize("second", [signal.SIGINT, signal.SIGTERM])
def test_a_second_signal_in_the_teardown(tmp_path: Path, second: int) -> None:
    mini = Mini(tmp_path / "m", suite=sample("suite_slow"))
    process = mini.start("-m", "acceptance")
    for says, signum in (("hung", signal.SIGINT), ("tearing down", second)):
        process.until(says)
        process.send_signal(signum)
    status, out = process.finish()
    assert status == exits.INTERRUPTED, out
    assert "undo: 1 changes taken back, 0 could not be" in out
    assert "Traceback" not in out
    _ended(mini, exits.INTERRUPTED, 1)


@pytest.mark.parametrize(
    ("hook", "status"),
    [("pytest_sessionfinish", exits.INTERRUPTED), ("pytest_terminal_summary", exits.PASSED)],
)
def test_a_signal_beside_all_hooks_of_ours(tmp_path: Path, hook: str, status: int) -> None:
    """pytest has no end for that but a traceback; the host and the record have theirs."""
    mini = Mini(tmp_path / "m", plugins=[*PLUGINS, "tests.sample.strikes"])
    _, out = mini.pytest("-m", "acceptance", environ={"MINI_STRIKES": hook})
    assert out.count("undo: 3 changes taken back, 0 could not be") == 1
    assert f"record: {mini.last.resolve() / 'record.jsonl'}" in out
    _ended(mini, status, 3)


def test_a_record_that_cannot_be_written_is_an_error_of_the_harness(tmp_path: Path) -> None:
    mini = Mini(tmp_path / "m", during.fill_the_disk)
    status, out = mini.pytest("-m", "acceptance")
    assert status == exits.HARNESS_ERROR
    assert "5 passed" in out
    assert "undo: 3 changes taken back, 0 could not be" in out
    assert "lacks events: [Errno 28] No space left on device" in out
    assert mini.made() == []


def _several(folder: Path) -> Mini:
    """A mini-suite whose recovery looks at several hosts, with something left on one."""
    mini = Mini(folder, plugins=[*PLUGINS, "tests.sample.several"])
    assert mini.pytest("-m", "acceptance", "--keep", "always")[0] == exits.PASSED
    assert len(mini.made()) == 3
    return mini


def test_a_host_that_is_not_there_does_not_keep_others_from_being_recovered(tmp_path: Path) -> None:
    mini = _several(tmp_path / "m")
    status, out = mini.pytest("--recover", environ={"MINI_SEVERAL": several.ABSENT})
    assert status == exits.UNREACHABLE
    assert out.index("cannot be reached") < out.index("[three] make ")
    assert "3 changes taken back, 0 could not be." in out
    _ended(mini, exits.UNREACHABLE, 3)


def test_an_interrupted_recovery_tells_what_it_has_done(tmp_path: Path) -> None:
    mini = _several(tmp_path / "m")
    status, out = mini.pytest("--recover", environ={"MINI_SEVERAL": several.INTERRUPTED})
    assert status == exits.INTERRUPTED
    assert "3 changes taken back, 0 could not be." in out
    assert "Interrupted: what is not named here has not been looked at." in out
    assert "Traceback" not in out
    _ended(mini, exits.INTERRUPTED, 3)


@pytest.mark.finding("F20", "what root saw on the host is for all to read")
def test_the_folder_of_a_run_is_its_users_alone(tmp_path: Path) -> None:
    mini = Mini(tmp_path / "m")
    mini.pytest("-m", "acceptance")
    assert mini.last.stat().st_mode & 0o777 == 0o700


def test_where_no_folder_can_be_made_nothing_is_touched(tmp_path: Path) -> None:
    mini = Mini(tmp_path / "m")
    mini.last.mkdir(parents=True)  # in the place of the link
    status, out = mini.pytest("-m", "acceptance")
    assert status == exits.USAGE, out
    assert "cannot be made: " in out
    assert "INTERNALERROR" not in out
    assert mini.journals() == []
