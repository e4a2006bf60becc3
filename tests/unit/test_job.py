"""Jobs: what runs for minutes, followed while it does, and ended with all that it has started."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from harness.errors import LabError
from harness.host.command import LINE_LIMIT, CommandTimeout, ProgramMissing
from harness.host.host import Host
from harness.run import job
from harness.run.job import CHUNK, run_job, start_job
from harness.undo.journal import Journal
from harness.undo.undo import undo
from harness.wait import wait_for
from tests.unit.conftest import TIME_IS_UP, named, runs
from tests.unit.patience import PATIENCE


@pytest.fixture
def journal(local: Host, tmp_path: Path) -> Journal:
    return Journal.create(local, named("run-1"), str(tmp_path / "a state"))


@pytest.fixture
def any_journal(any_host: Host, tmp_path: Path) -> Journal:
    return Journal.create(any_host, named("run-1"), str(tmp_path / "a state"))


def test_a_job_streams_and_ends(any_journal: Journal, tmp_path: Path) -> None:
    seen: list[str] = []
    result = run_job(
        any_journal.host,
        "talk",
        ["sh", "-c", 'echo "$V $PWD"; echo err >&2; printf end'],
        timeout=PATIENCE,
        on_line=seen.append,
        env={"V": "a b"},
        cwd=str(tmp_path),
        journal=any_journal,
    )
    assert seen == [f"a b {tmp_path}", "err", "end"]
    assert result.rc == 0
    assert [result.ok for result in undo(any_journal, False)] == [True]


def test_a_job_that_fails_says_so(journal: Journal) -> None:
    with pytest.raises(LabError, match=r"exit status 3(.|\n)*told"):
        run_job(
            journal.host,
            "bad",
            ["sh", "-c", "echo told; exit 3"],
            timeout=PATIENCE,
            journal=journal,
        )


@pytest.mark.case("host", "a job for which a program is missing", source="dash, bash")
def test_a_job_for_which_a_program_is_missing(journal: Journal) -> None:
    script = "echo begun; no-such-program --all"
    with pytest.raises(ProgramMissing, match="'no-such-program' is missing"):
        run_job(journal.host, "bad", ["sh", "-euc", script], timeout=PATIENCE, journal=journal)


def test_a_job_speaks_english(any_journal: Journal) -> None:
    words = ["sh", "-c", 'echo "$LC_ALL"']
    result = run_job(any_journal.host, "talk", words, timeout=PATIENCE, journal=any_journal)
    assert result.out == "C\n"


@pytest.mark.usefixtures("deadline_on_call")
def test_a_job_is_stopped_at_its_deadline(journal: Journal) -> None:
    argv = ["sh", "-c", f"echo begun; {TIME_IS_UP}; sleep 1000"]
    with pytest.raises(CommandTimeout, match=r"still ran after 1000 s(.|\n)*begun"):
        run_job(journal.host, "hang", argv, timeout=1000, journal=journal)
    assert [result.ok for result in undo(journal, False)] == [True], (
        "what it has left ends with its undo"
    )


def test_a_job_has_more_time_on_a_slow_host(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal.host, "pace", 5.0)
    with pytest.raises(CommandTimeout, match=r"after 1 s \(0\.2 s x 5, the pace of "):
        run_job(journal.host, "hang", ["sleep", "1000"], timeout=0.2, journal=journal)
    assert [result.ok for result in undo(journal, False)] == [True]


def test_a_job_is_what_runs_and_not_the_looks_at_it(journal: Journal) -> None:
    host = journal.host
    seen: list[str] = []
    run_job(
        host,
        "says",
        ["echo", "a b"],
        timeout=PATIENCE,
        journal=journal,
        on_line=lambda _: seen.extend(host.active.lines()),
    )
    assert [line.partition(" (for ")[0] for line in seen] == ["echo 'a b'"]


def test_what_a_job_is_not_looked_at_for_is_none_of_its_seconds(journal: Journal) -> None:
    job = start_job(journal.host, "early", ["true"], journal=journal, timeout=PATIENCE)
    ended = Path(job.directory) / "rc"
    wait_for("the job ends", ended.exists, PATIENCE, 0.02)
    at = ended.stat().st_mtime - 1000
    os.utime(ended, (at, at))
    job.started -= 1500
    result = job.finish()
    assert job.idle >= 1000
    assert result.seconds < 1000


def test_undo_stops_a_job_with_its_children(any_journal: Journal) -> None:
    script = "setsid sleep 1000 & echo $! $$; wait"
    job = start_job(any_journal.host, "serve", ["sh", "-c", script], journal=any_journal)
    pids = wait_for("the job speaks", lambda: job.tail().split(), PATIENCE, 0.05)
    assert job.alive()
    assert [result.ok for result in undo(any_journal, False)] == [True]
    assert not any(runs(int(pid)) for pid in pids)


def test_lines_without_an_end_are_bounded(journal: Journal) -> None:
    size = 4 << 20
    lengths: list[int] = []
    argv = ["head", "-c", str(size), "/dev/zero"]
    result = run_job(
        journal.host,
        "endless-line",
        argv,
        timeout=PATIENCE,
        on_line=lambda line: lengths.append(len(line)),
        journal=journal,
    )
    assert result.out_bytes == size == sum(lengths)
    assert max(lengths) <= LINE_LIMIT + CHUNK


def test_a_job_that_always_prints_meets_its_deadline(journal: Journal) -> None:
    script = "while :; do printf x; done"
    job = start_job(journal.host, "chatter", ["sh", "-c", script], journal=journal)
    with pytest.raises(CommandTimeout, match="still ran at its deadline"):
        job.wait(0.5)
    assert [result.ok for result in undo(journal, False)] == [True]


def test_an_observer_that_fails_ends_its_job(journal: Journal) -> None:
    def observe(line: str) -> None:
        raise ZeroDivisionError(line)

    with pytest.raises(ZeroDivisionError, match="seen"):
        run_job(
            journal.host,
            "observed",
            ["sh", "-c", "echo seen; exec sleep 1000"],
            timeout=PATIENCE,
            on_line=observe,
            journal=journal,
        )


@pytest.mark.finding("F19", "a job fills the host's disk")
def test_a_job_that_prints_without_end_is_stopped(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job, "OUTPUT", 1 << 20)
    endless = start_job(journal.host, "yes", ["yes"], journal=journal)
    with pytest.raises(LabError, match=r"had printed \d+ MiB, and was stopped: 'yes'"):
        endless.wait(PATIENCE)
    assert not endless.alive()


def test_who_is_behind_reads_the_end(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job, "BEHIND", 1 << 16)
    words, seen = ["sh", "-c", "seq 1000000; echo end"], list[str]()
    result = run_job(
        journal.host, "much", words, timeout=PATIENCE, journal=journal, on_line=seen.append
    )
    assert (seen[0], seen[-1]) == ("1", "end")
    assert len(seen) < 1_000_000
    assert result.out.endswith("999999\n1000000\nend\n")


def test_a_tail_begins_with_a_character(journal: Journal) -> None:
    started = start_job(journal.host, "tail", ["echo", "模型服务"], journal=journal)
    started.wait(PATIENCE)
    assert started.tail(9) == "…服务\n"
    assert started.tail(100) == "模型服务\n"
