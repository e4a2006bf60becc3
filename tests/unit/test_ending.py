"""The end of a run, and of a recovery, when something comes in between."""

from __future__ import annotations

import argparse
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from harness import exits
from harness.plugin.session import Interrupts, opened
from harness.undo.undo import deferred_signals
from tests.sample import during, several
from tests.unit.mini import PLUGINS, Mini, sample
from tests.unit.patience import PATIENCE


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
    assert "host: put back (1 change undone)" in out
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
    assert out.count("host: put back (3 changes undone)") == 1
    assert f"record: {mini.last.resolve() / 'record.jsonl'}" in out
    _ended(mini, status, 3)


def test_a_record_that_cannot_be_written_is_an_error_of_the_harness(tmp_path: Path) -> None:
    mini = Mini(tmp_path / "m", during.fill_the_disk)
    status, out = mini.pytest("-m", "acceptance")
    assert status == exits.HARNESS_ERROR
    assert "5 passed" in out
    assert "host: put back (3 changes undone)" in out
    assert "lacks events: [Errno 28] No space left on device" in out
    assert mini.made() == []


def _several(folder: Path) -> Mini:
    """A mini-suite whose recovery looks at several hosts, with something left on one."""
    return _kept(folder, "tests.sample.several")


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


@pytest.mark.parametrize("at", ["pytest_keyboard_interrupt", "signal at the end"])
@pytest.mark.finding("C6", "two signals within a moment end a run with a traceback")
def test_a_second_signal_beside_all_hooks_of_ours_changes_nothing(tmp_path: Path, at: str) -> None:
    """As two within a moment: pytest still answers the first one, or is at its last lines."""
    mini = Mini(tmp_path / "m", during.hang, plugins=[*PLUGINS, "tests.sample.strikes"])
    process = mini.start("-m", "acceptance", environ={"MINI_STRIKES": at})
    process.until("hung")
    process.send_signal(signal.SIGINT)
    status, out = process.finish()
    assert status == exits.INTERRUPTED, out
    assert "Traceback" not in out
    assert "host: put back (2 changes undone)" in out
    _ended(mini, exits.INTERRUPTED, 2)


@pytest.mark.parametrize(
    ("struck", "status", "says"),
    [
        (during.interrupt_at_no_line, exits.INTERRUPTED, "KeyboardInterrupt"),
        (during.ring_at_no_line, exits.FAILED, "Time is up for test 'test_two': 1000 s"),
    ],
)
def test_a_signal_at_an_instruction_without_a_line(
    tmp_path: Path, struck: Callable[..., None], status: int, says: str
) -> None:
    """pytest cannot show such a traceback: the run ended with one of pytest's, and with 1 or 3."""
    mini = Mini(tmp_path / "m", struck)
    found, out = mini.pytest("-m", "acceptance")
    assert found == status, out
    assert says in out
    assert "TypeError" not in out
    assert mini.made() == []
    assert mini.journals() == []


def test_a_second_signal_does_nothing_while_the_first_is_answered() -> None:
    interrupts = Interrupts()
    for _ in range(2):  # no run has begun: each counts
        with pytest.raises(KeyboardInterrupt):
            interrupts(signal.SIGINT, None)
    interrupts.begun = True
    interrupts(signal.SIGTERM, None)
    interrupts.again = True
    with pytest.raises(KeyboardInterrupt):
        interrupts(signal.SIGINT, None)
    interrupts(signal.SIGHUP, None)
    interrupts._last = -Interrupts.PAUSE  # long ago: one that was lost does not count for ever
    with pytest.raises(KeyboardInterrupt):
        interrupts(signal.SIGINT, None)
    interrupts.over = interrupts.again = True
    interrupts(signal.SIGINT, None)


@pytest.mark.finding("C5", "SIGHUP ends a run without its undo")
def test_a_terminal_that_is_closed_ends_a_run_that_is_undone(tmp_path: Path) -> None:
    """Nobody reads what it says then, and writing it fails."""
    mini = Mini(tmp_path / "m", during.hang)
    process = mini.start("-m", "acceptance")
    process.until("hung")
    process.stdout.close()
    process.send_signal(signal.SIGHUP)
    process._process.join(PATIENCE)
    assert process._process.exitcode == exits.INTERRUPTED
    _ended(mini, exits.INTERRUPTED, 2)


def test_what_is_ignored_stays_so(tmp_path: Path) -> None:
    """As nohup has it."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with opened(None, tmp_path, argparse.Namespace(), []):
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
            assert isinstance(signal.getsignal(signal.SIGTERM), Interrupts)
            with deferred_signals(print):
                assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def _kept(folder: Path, *plugins: str) -> Mini:
    """A mini-suite whose run was kept, so that there is something to recover."""
    mini = Mini(folder, plugins=[*PLUGINS, *plugins])
    assert mini.pytest("-m", "acceptance", "--keep", "always")[0] == exits.PASSED
    assert len(mini.made()) == 3
    return mini


@pytest.mark.finding("C11", "a recovery whose record has no room ends with 0")
def test_a_recovery_on_a_full_disk_undoes_and_does_not_pass(tmp_path: Path) -> None:
    mini = _kept(tmp_path / "m", "tests.sample.full")
    status, out = mini.pytest("--recover")
    assert status == exits.HARNESS_ERROR
    assert "3 changes taken back, 0 could not be." in out
    assert "lacks events: [Errno 28] No space left on device" in out
    assert "Traceback" not in out
    assert mini.made() == []


def _no_folder(runs: Path) -> None:
    """As one that may not be written, for whoever runs this."""
    shutil.rmtree(runs)
    runs.touch()


def _last_is_a_folder(runs: Path) -> None:
    (runs / "last").unlink()
    (runs / "last").mkdir()


@pytest.mark.parametrize("spoil", [_no_folder, _last_is_a_folder])
@pytest.mark.finding("C11", "a folder of runs that cannot be written")
def test_where_no_record_can_be_kept_no_run_begins_and_a_recovery_does(
    tmp_path: Path, spoil: Callable[[Path], None]
) -> None:
    mini = _kept(tmp_path / "m")
    runs = mini.folder / "reports" / "runs"
    spoil(runs)
    before = [*runs.glob("*")]
    for args, expected in (
        (["-m", "acceptance"], exits.USAGE),
        (["--recover"], exits.HARNESS_ERROR),
    ):
        status, out = mini.pytest(*args)
        assert status == expected, out
        assert f"ERROR: No record can be kept in '{runs.resolve()}': [Errno " in out
        assert "Traceback" not in out
        assert "INTERNALERROR" not in out
        assert [*runs.glob("*")] == before
    assert "3 changes taken back, 0 could not be." in out
    assert mini.made() == []


def test_a_journal_that_cannot_be_read_does_not_keep_others_from_being_recovered(
    tmp_path: Path,
) -> None:
    mini = _kept(tmp_path / "m")
    bad = mini.state / "journal" / "bad.jsonl"
    bad.write_text('{"journal": 1}\n')
    bad.chmod(0o600)
    status, out = mini.pytest("--recover")
    assert status == exits.REFUSED
    assert f"Journal '{bad}' on 'local' cannot be read: line 1: 'run' is missing" in out
    assert out.index("[three] make ") < out.index("cannot be read")
    assert "3 changes taken back, 0 could not be." in out
    assert mini.made() == []
    assert bad.exists()


@pytest.mark.finding("F20", "what root saw on the host is for all to read")
def test_the_folder_of_a_run_is_its_users_alone(tmp_path: Path) -> None:
    mini = Mini(tmp_path / "m")
    mini.pytest("-m", "acceptance")
    assert mini.last.stat().st_mode & 0o777 == 0o700
