"""The end of a run, and of a recovery, when something comes in between."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from harness import exits
from tests.unit.mini import CONFTEST, Mini

SLOW = '''
import time

import pytest

pytestmark = pytest.mark.acceptance


@pytest.fixture(scope="session")
def slow(run, one):
    """A fixture that takes its time to go."""
    yield
    run.progress("tearing down")
    time.sleep(1000)


def test_hangs(run, slow):
    run.progress("hung")
    time.sleep(1000)
'''

STRUCK = """

@pytest.hookimpl(wrapper=True, tryfirst=True)
def HOOK():
    raise KeyboardInterrupt
    yield
"""

SEVERAL = """

def pytest_acceptance_leftovers():
    yield open_ssh(SshEndpoint("root", "127.0.0.1", 1))  # nobody listens on port 1
    yield open_local(become=False)
    THEN
"""


def _ended(mini: Mini, status: int, undone: int) -> None:
    """The host is as it was, and the record says how the run ended."""
    assert mini.made() == []
    assert mini.journals() == []
    assert not (mini.state / "journal" / "host.lock").exists()
    last = mini.record()[-1]
    assert (last["state"], last["exit_status"], last["undone"]) == ("ended", status, undone)


@pytest.mark.parametrize("second", [signal.SIGINT, signal.SIGTERM])
def test_a_second_signal_in_the_teardown(tmp_path: Path, second: int) -> None:
    mini = Mini(tmp_path / "m", suite=SLOW)
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
    mini = Mini(tmp_path / "m", conftest=CONFTEST + STRUCK.replace("HOOK", hook))
    _, out = mini.pytest("-m", "acceptance")
    assert out.count("undo: 3 changes taken back, 0 could not be") == 1
    assert f"record: {mini.last.resolve() / 'record.jsonl'}" in out
    _ended(mini, status, 3)


def test_a_record_that_cannot_be_written_is_an_error_of_the_harness(tmp_path: Path) -> None:
    full = 'os.dup2(os.open("/dev/full", os.O_WRONLY), self.run.trace._file)'
    mini = Mini(tmp_path / "m", two=full)
    status, out = mini.pytest("-m", "acceptance")
    assert status == exits.HARNESS_ERROR
    assert "5 passed" in out
    assert "undo: 3 changes taken back, 0 could not be" in out
    assert "lacks events: [Errno 28] No space left on device" in out
    assert mini.made() == []


def _several(folder: Path, then: str = "pass") -> Mini:
    """A mini-suite whose recovery looks at two hosts, with something left on the second."""
    conftest = CONFTEST.replace("open_local, open_ssh", "SshEndpoint, open_local, open_ssh")
    mini = Mini(folder, conftest=conftest + SEVERAL.replace("THEN", then))
    assert mini.pytest("-m", "acceptance", "--keep", "always")[0] == exits.PASSED
    assert len(mini.made()) == 3
    return mini


def test_a_host_that_is_not_there_does_not_keep_others_from_being_recovered(tmp_path: Path) -> None:
    mini = _several(tmp_path / "m")
    status, out = mini.pytest("--recover")
    assert status == exits.UNREACHABLE
    assert out.index("cannot be reached") < out.index("[three] make ")
    assert "3 changes taken back, 0 could not be." in out
    _ended(mini, exits.UNREACHABLE, 3)


def test_an_interrupted_recovery_tells_what_it_has_done(tmp_path: Path) -> None:
    mini = _several(tmp_path / "m", "raise KeyboardInterrupt")
    conftest = mini.folder / "conftest.py"
    lines = conftest.read_text().splitlines()
    conftest.write_text("\n".join(line for line in lines if "nobody listens" not in line))
    status, out = mini.pytest("--recover")
    assert status == exits.INTERRUPTED
    assert "3 changes taken back, 0 could not be." in out
    assert "Interrupted: what is not named here has not been looked at." in out
    assert "Traceback" not in out
    _ended(mini, exits.INTERRUPTED, 3)
