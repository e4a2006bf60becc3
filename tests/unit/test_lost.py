"""A host that is lost, reboots or has no room left: what is then undone, and what is told."""

from __future__ import annotations

import json
import os
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from harness.host.command import CommandFailed, HostRebooted, HostUnreachable
from harness.host.host import Host, open_ssh
from harness.host.ssh import SshTransport
from harness.record.evidence import Evidence
from harness.record.trace import GENESIS, Trace, chain_digest
from harness.undo.journal import Journal, load_all
from harness.undo.lock import locked
from harness.undo.undo import UndoResult, recover, undo
from harness.wait import wait_for
from tests.unit.conftest import Sshd, break_connection, named, room
from tests.unit.patience import PATIENCE


@pytest.fixture
def journal(own: Host, tmp_path: Path) -> Journal:
    return Journal.create(own, named("run-1"), str(tmp_path / "state"))


def _lose(journal: Journal, script: str, path: Path) -> None:
    """Have the connection lost under a command, which goes on: it waits for the file `go`."""
    with pytest.raises(HostUnreachable):
        journal.host.sh(
            f'echo $$ >"$1.pid"; echo up; until [ -e "$1.go" ]; do sleep 0.02; done; {script}',
            str(path),
            on_line=lambda _: break_connection(journal.host),
        )


def test_what_a_lost_command_still_does_ends_before_it_is_undone(
    journal: Journal, tmp_path: Path
) -> None:
    made = tmp_path / "made"
    journal.record("s", "make it", [["rm", "-f", str(made)]])
    _lose(journal, 'touch "$1"', made)
    stat = Path(f"/proc/{(tmp_path / 'made.pid').read_text().strip()}/stat")
    assert stat.exists(), "it goes on, as a command does whose connection is lost"
    assert [result.outcome for result in undo(journal, False)] == ["undone"]
    (tmp_path / "made.go").touch()
    wait_for("it has ended", lambda: not stat.exists(), PATIENCE, 0.02)
    assert not made.exists()


def test_a_probe_that_is_repeated_comes_after_the_end_of_what_was_lost(
    own: Host, tmp_path: Path
) -> None:
    _lose(Journal(own, named("r")), 'touch "$1"', tmp_path / "made")
    script = 'test ! -e "/proc/$1" && echo gone'
    assert own.sh(script, (tmp_path / "made.pid").read_text().strip(), probe=True).out == "gone\n"


def test_a_connection_lost_within_the_undo_is_made_anew(journal: Journal, tmp_path: Path) -> None:
    """The entry that was under way is tried again, and all that come after it have their turn."""
    tries = tmp_path / "tries"
    lose = 'echo >>"$1"; [ "$(wc -l <"$1")" != 1 ] || kill -9 "$(cat "$1.master")"'
    transport = journal.host._transport
    assert isinstance(transport, SshTransport)
    assert transport._master is not None
    (tmp_path / "tries.master").write_text(str(transport._master.pid))
    journal.record("s", "first", [["touch", str(tmp_path / "first")]])
    journal.record("s", "lost", [["sh", "-euc", lose, "sh", str(tries)]])
    journal.record("s", "last", [["touch", str(tmp_path / "last")]])
    assert [result.outcome for result in undo(journal, False)] == ["undone"] * 3
    assert tries.read_text() == "\n\n"
    assert not os.path.exists(journal.path)


def test_an_undo_that_cannot_begin_is_told_of_every_change(tmp_path: Path) -> None:
    (tmp_path / "sshd").mkdir()
    server = Sshd(tmp_path / "sshd")
    with open_ssh(server.endpoint, "own", become=False) as own:
        journal = Journal.create(own, named("run-1"), str(tmp_path / "state"))
        for what in ("first", "second"):
            journal.record("s", what, [["true"]])
        server.close()
        break_connection(own)
        told: list[UndoResult] = []
        with pytest.raises(HostUnreachable, match="cannot be reached"):
            undo(journal, False, told.append)
    assert [(result.entry.what, result.outcome) for result in told] == [
        ("second", "failed"),
        ("first", "failed"),
    ]
    assert all("cannot be reached" in result.error for result in told)


def test_after_a_reboot_a_run_does_nothing_more_on_the_host(
    journal: Journal, tmp_path: Path
) -> None:
    own = journal.host
    own.boot_id = "another"  # as it was when the run began
    journal.record("s", "make it", [["touch", str(tmp_path / "undone")]])
    break_connection(own)
    for _ in range(2):
        with pytest.raises(
            HostRebooted, match=r"has rebooted(.|\n)*hint: python -m harness recover"
        ):
            own.run("true", probe=True)
    with pytest.raises(HostRebooted):
        own.run("touch", str(tmp_path / "f"))
    told: list[UndoResult] = []
    with pytest.raises(HostRebooted):
        undo(journal, False, told.append)
    assert [result.ok for result in told] == [False]
    assert [*tmp_path.glob("[fu]*")] == []


def test_a_lock_is_given_back_where_taking_it_was_interrupted(own: Host, tmp_path: Path) -> None:
    state = tmp_path / "state"
    lock = state / "journal" / "host.lock"
    run = own.run

    def interrupted(*argv: str, **options: object) -> object:
        result = run(*argv, **options)  # type: ignore[arg-type]
        if lock.exists() and str(lock) in argv:
            own.run = run  # type: ignore[method-assign]
            raise KeyboardInterrupt
        return result

    own.run = interrupted  # type: ignore[method-assign, assignment]
    with pytest.raises(KeyboardInterrupt), locked(own, named("first"), str(state)):
        pass
    assert not lock.exists()


@pytest.mark.finding("C14", "a journal's line for which there is no room")
def test_a_line_for_which_there_is_no_room_leaves_nothing_behind(
    local: Host, tmp_path: Path
) -> None:
    state = str(tmp_path / "state")
    journal = Journal.create(local, named("run-1"), state)
    journal.record("s", "first" + "." * 1000, [["true"]])
    path = Path(journal.path)
    before = path.read_bytes()
    with room(len(before) + 10), pytest.raises(CommandFailed) as caught:
        journal.record("s", "second", [["true"]])
    assert f"Journal '{path}' on 'local' cannot be written: " in caught.value.message
    assert "umask" not in str(caught.value), "the script itself helps nobody"
    assert "df" in (caught.value.hint or "")
    assert path.read_bytes() == before
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]
    journal.record("s", "third", [["true"]])
    (loaded,) = load_all(local, state)
    assert [entry.what[:5] for entry in loaded.entries] == ["first", "third"]


def test_half_a_line_of_one_that_was_killed_is_cut_off(local: Host, tmp_path: Path) -> None:
    state = str(tmp_path / "state")
    journal = Journal.create(local, named("run-1"), state)
    with open(journal.path, "a", encoding="utf-8") as file:
        file.write('{"id": 1, "stage": "机')
    journal.record("s", "whole", [["true"]])
    (loaded,) = load_all(local, state)
    assert [entry.what for entry in loaded.entries] == ["whole"]
    assert [result.outcome for result in recover(local, state)] == ["undone"]


def test_a_record_that_cannot_be_written_does_not_stop_the_undo(
    local: Host, tmp_path: Path
) -> None:
    before, local.trace = local.trace, Trace(Path("/dev/full"))
    try:
        journal = Journal.create(local, named("run-1"), str(tmp_path / "state"))
        journal.record("s", "make it", [["touch", str(tmp_path / "undone")]])
        assert [result.outcome for result in undo(journal, False)] == ["undone"]
        assert "'/dev/full' lacks events: [Errno 28] No space left" in local.trace.trouble
    finally:
        local.trace.close()
        local.trace = before
    assert (tmp_path / "undone").exists()


def test_a_record_has_whole_lines_alone_that_are_chained(tmp_path: Path) -> None:
    path = tmp_path / "record.jsonl"
    with Trace(path) as trace:
        trace.event("fact", name="a", value=1)
        with room(path.stat().st_size + 10):
            trace.event("fact", name="b", value=2)
        trace.event("fact", name="c", value=3)
        assert trace.trouble
    events = [json.loads(line) for line in path.read_text().splitlines()]
    assert [event["name"] for event in events] == ["a", "c"]
    chain = GENESIS
    for event in events:
        chain = chain_digest(chain, event)
        assert event["chain"] == chain


def test_evidence_that_cannot_be_written_is_trouble_and_no_more() -> None:
    with Trace(None) as trace:
        evidence = Evidence(Path("/dev/full/evidence"), trace)
        evidence.register("dmesg", lambda: "text")
        evidence.collect("a.py::t", {"failure": "text"})
        assert "The evidence in '/dev/full/evidence/a.py/t' is not whole:" in trace.trouble


def test_a_lost_connection_is_made_anew_once_for_all_threads(sshd: Sshd) -> None:
    """Evidence is collected in a thread, which may be left behind."""
    before = set(sshd.connections())
    with open_ssh(sshd.endpoint, "own", become=False) as own, ThreadPoolExecutor(4) as pool:
        for pid in set(sshd.connections()) - before:
            os.kill(pid, signal.SIGKILL)
        said = pool.map(lambda n: own.run("echo", str(n), probe=True).out, range(4))
        assert list(said) == ["0\n", "1\n", "2\n", "3\n"]
        assert own._connection.made == 2
        assert len(set(sshd.connections()) - before) == 1
