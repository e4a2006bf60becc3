"""What threads share: a stage that is ended from outside, the journal, the connection."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

from harness.host.cancellation import Cancelled
from harness.host.host import Host, open_ssh
from harness.record.trace import STAGE, at_stage
from harness.run.background import Early
from harness.run.clock import Limit
from harness.run.job import run_job
from harness.run.stage import Run, Stage, StageFailed
from harness.undo.journal import Journal
from harness.undo.undo import undo
from harness.wait import wait_for
from tests.unit.conftest import Sshd
from tests.unit.mini import gone
from tests.unit.patience import PATIENCE
from tests.unit.test_stage import make_run


class Does(Stage[None, str]):
    """A stage whose change is a function."""

    name = "does"

    def __init__(self, run: Run[None], what: Callable[[Run[None]], object]) -> None:
        self.run, self.what = run, what

    def provision(self) -> None:
        self.what(self.run)

    def verify(self) -> str:
        return STAGE.get()


def begin(
    run: Run[None], what: Callable[[Run[None]], object], limit: Limit | None = None
) -> Early[str]:
    """Start a stage in the background."""

    def does(run: Run[None]) -> str:
        return run.stage(Does(run, what))

    early = Early(does)
    run.provision = "always"
    run.background.start(early, {"run": run}, limit)
    return early


def test_a_stage_has_its_budget_also_when_nobody_waits(local: Host, tmp_path: Path) -> None:
    run = make_run(local, tmp_path)

    def forever(run: Run[None]) -> None:
        wait_for("the impossible", lambda: run.host.run("false", ok=(0, 1)).rc == 0, 600, 0.05)

    does = begin(run, forever, limit=Limit("stage 'does'", 0.3, "does"))
    with pytest.raises(StageFailed, match=r"'does' failed: Time is up for stage 'does'") as e:
        run.background.result(does, {"run": run})
    assert "raise 'does' in [budget] of the profile, 0.3 now" in str(e.value.hint)
    assert run.background.close() == []


def test_a_job_in_the_background_ends_with_it(local: Host, tmp_path: Path) -> None:
    run = make_run(local, tmp_path)
    (tmp_path / "state" / "journal").mkdir(parents=True)
    pid_file = tmp_path / "pid"

    def job(run: Run[None]) -> None:
        argv = ["sh", "-c", f"echo $$ >'{pid_file}'; sleep 600"]
        run_job(run.host, "long", argv, timeout=600, journal=run.journal)

    does = begin(run, job)
    wait_for("the job runs", lambda: pid_file.exists() and pid_file.read_text(), PATIENCE, 0.02)
    assert run.background.close() == []
    assert gone(pid_file)
    with pytest.raises(Cancelled, match="The run has ended"):
        run.background.result(does, {"run": run})


def test_a_stage_that_is_ended_cleans_up_behind_itself(local: Host, tmp_path: Path) -> None:
    run = make_run(local, tmp_path)

    def mount(run: Run[None]) -> None:
        try:
            run.host.run("touch", str(tmp_path / "mounted"))
            run.host.run("sleep", "600")
        finally:
            run.host.run("rm", str(tmp_path / "mounted"))

    begin(run, mount)
    wait_for("it is mounted", (tmp_path / "mounted").exists, PATIENCE, 0.02)
    assert run.background.close() == []
    assert not (tmp_path / "mounted").exists()


def test_a_command_that_left_its_group_ends_with_its_stage(local: Host, tmp_path: Path) -> None:
    run = make_run(local, tmp_path)
    pid_file = tmp_path / "pid"
    leave = 'setsid sh -c "echo \\$\\$ >pid; exec sleep 600" & wait'
    begin(run, lambda run: run.host.sh(leave, cwd=str(tmp_path)))
    wait_for("it has left", lambda: pid_file.exists() and pid_file.read_text(), PATIENCE, 0.02)
    assert run.background.close(grace=0, kill=PATIENCE) == []
    assert gone(pid_file)


def test_a_stage_that_does_not_end_is_told_and_runs_nothing(
    recorded: tuple[Host, Path], tmp_path: Path
) -> None:
    host, record = recorded
    run = make_run(host, tmp_path / "run")
    free = threading.Event()
    refused = threading.Event()

    def stubborn(run: Run[None]) -> None:
        free.wait(PATIENCE)
        for change in (lambda: host.run("true"), lambda: run.journal.record("s", "w", [["true"]])):
            with suppress(Cancelled):
                change()
        refused.set()

    begin(run, stubborn)
    assert run.background.close(grace=0, kill=0.1) == ["does"]
    free.set()
    assert refused.wait(PATIENCE)
    assert record.read_text() == ""


def test_other_arguments_are_not_given_the_same_result(local: Host, tmp_path: Path) -> None:
    run, other = make_run(local, tmp_path), make_run(local, tmp_path / "other")
    other.background = run.background
    does = begin(run, lambda run: None)
    assert does(run=run) == "does"
    assert does(run=other) == "does"
    records = [path.read_text().count('"ok"') for path in tmp_path.rglob("record.jsonl")]
    assert records == [1, 1]


def test_what_cannot_be_early() -> None:
    def yields(run: Run[None]) -> Iterator[int]:
        yield 1

    def asks(run: Run[None], request: pytest.FixtureRequest) -> None: ...

    def alone() -> None: ...

    for function in (yields, asks, alone, pytest.fixture(alone)):
        with pytest.raises(TypeError, match="early"):
            Early(function)


def test_one_journal_for_many_threads(local: Host, tmp_path: Path) -> None:
    journal = Journal.create(local, "r", str(tmp_path / "state"))
    kept = tmp_path / "kept"
    kept.write_text("before")

    def change(number: int) -> None:
        with at_stage(f"s{number}"):
            if number % 4:
                journal.record("s", f"change {number}", [["true"]])
            else:
                journal.save_file("s", str(kept))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(change, range(16)))
    loaded = Journal.load(local, "r", str(tmp_path / "state"))
    assert loaded.entries == journal.entries
    assert [entry.id for entry in loaded.entries] == list(range(1, 17))
    kept.write_text("after")
    assert all(result.ok for result in undo(loaded, durable=True))
    assert kept.read_text() == "before"


def test_a_lost_connection_is_made_anew_once_for_all_threads(sshd: Sshd) -> None:
    before = set(sshd.connections())
    with open_ssh(sshd.endpoint, "own", become=False) as own, ThreadPoolExecutor(4) as pool:
        for pid in set(sshd.connections()) - before:
            os.kill(pid, signal.SIGKILL)
        said = pool.map(lambda n: own.run("echo", str(n), probe=True).out, range(4))
        assert list(said) == ["0\n", "1\n", "2\n", "3\n"]
        assert own._connection.made == 2
        assert len(set(sshd.connections()) - before) == 1
