"""Write-ahead, reverse, repeatable; and one run a host."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from harness.host.host import Host
from harness.undo import journal as journals
from harness.undo import lock
from harness.undo.journal import Journal, JournalError
from harness.undo.lock import StateRefused
from harness.undo.undo import recover, undo
from tests.unit.conftest import named


@pytest.fixture
def state(tmp_path: Path) -> str:
    return str(tmp_path / "a state")


@pytest.fixture
def journal(local: Host, state: str) -> Journal:
    return Journal.create(local, named("run-1"), state)


@pytest.fixture
def any_journal(any_host: Host, state: str) -> Journal:
    """Over ssh too, where the transport could matter; it is slow, hence not everywhere."""
    return Journal.create(any_host, named("run-1"), state)


def _note(tmp_path: Path, word: str) -> list[Sequence[str]]:
    return [["sh", "-c", 'echo "$1" >>"$2"', "sh", word, str(tmp_path / "notes")]]


def test_undo_runs_in_reverse_and_once(any_journal: Journal, tmp_path: Path) -> None:
    for word in ("a", "b", "c"):
        any_journal.record("s", word, _note(tmp_path, word))
    assert [r.outcome for r in undo(any_journal, False)] == ["undone"] * 3
    assert (tmp_path / "notes").read_text() == "c\nb\na\n"
    assert undo(any_journal, False) == []
    assert not os.path.exists(any_journal.path)


def test_a_change_is_on_disk_before_it_is_made(journal: Journal) -> None:
    journal.record("s", "机密", [["true"]], when=["test", "-e", "/x"])
    last = Path(journal.path).read_text().splitlines()[-1]
    assert json.loads(last) == {
        "id": 1,
        "stage": "s",
        "what": "机密",
        "undo": [["true"]],
        "when": ["test", "-e", "/x"],
        "durable": False,
    }
    assert os.stat(journal.directory).st_mode & 0o777 == 0o700
    assert os.stat(journal.path).st_mode & 0o777 == 0o600


def test_a_failed_undo_stays_and_the_rest_runs(
    journal: Journal, local: Host, state: str, tmp_path: Path
) -> None:
    flag = tmp_path / "flag"
    journal.record("s", "a", _note(tmp_path, "a"))
    journal.record("s", "needs flag", [["test", "-e", str(flag)], *_note(tmp_path, "never")])
    journal.record("s", "c", _note(tmp_path, "c"))
    assert [r.outcome for r in undo(journal, False)] == ["undone", "failed", "undone"]
    assert (tmp_path / "notes").read_text() == "c\na\n"
    flag.touch()
    assert [r.entry.what for r in recover(local, state)] == ["needs flag"]
    assert (tmp_path / "notes").read_text() == "c\na\nnever\n"
    assert journals.journals(local, state) == []


def test_a_guard_that_says_no(journal: Journal, tmp_path: Path) -> None:
    journal.record("s", "a", _note(tmp_path, "a"), when=["false"])
    assert [r.outcome for r in undo(journal, False)] == ["not needed"]
    assert not (tmp_path / "notes").exists()


def test_durable_changes_are_kept_until_asked(
    journal: Journal, local: Host, state: str, tmp_path: Path
) -> None:
    journal.record("s", "durable", _note(tmp_path, "durable"), durable=True)
    journal.record("s", "transient", _note(tmp_path, "transient"))
    assert [r.entry.what for r in undo(journal, False)] == ["transient"]
    (left,) = journals.load_all(local, state)
    assert left.pending(durable=False) == []
    assert [r.entry.what for r in recover(local, state)] == []
    assert [r.entry.what for r in recover(local, state, durable=True)] == ["durable"]
    assert journals.journals(local, state) == []


def test_a_saved_file_comes_back_as_it_was(any_journal: Journal, tmp_path: Path) -> None:
    path = tmp_path / "a file"
    path.write_bytes(b"\x00\xffold")
    path.chmod(0o604)
    os.utime(path, (1, 1))
    before = path.stat()
    any_journal.save_file("s", str(path))
    any_journal.host.write(str(path), "new")
    any_journal.save_file("s", str(path))
    any_journal.host.write(str(path), "newer")
    assert [result.ok for result in undo(any_journal, False)] == [True, True]
    after = path.stat()
    assert path.read_bytes() == b"\x00\xffold"
    assert (after.st_mode, after.st_uid, after.st_mtime) == (before.st_mode, before.st_uid, 1)
    assert sorted(os.listdir(tmp_path)) == ["a file", "a state"]


def test_a_saved_link_and_a_file_that_was_not_there(journal: Journal, tmp_path: Path) -> None:
    link, new = tmp_path / "link", tmp_path / "new"
    link.symlink_to("elsewhere")
    journal.save_file("s", str(link))
    journal.save_file("s", str(new))
    link.unlink()
    link.write_text("x")
    new.write_text("x")
    assert [result.ok for result in undo(journal, False)] == [True, True]
    assert os.readlink(link) == "elsewhere"
    assert not new.exists()
    with pytest.raises(JournalError, match="it is a directory"):
        journal.save_file("s", str(tmp_path))


def test_a_torn_last_line_is_of_a_change_never_made(
    journal: Journal, local: Host, state: str, tmp_path: Path
) -> None:
    journal.record("s", "a", _note(tmp_path, "a"))
    with open(journal.path, "a") as file:
        file.write('{"id": 2, "stage": "s", "wh')
    assert [r.entry.what for r in recover(local, state)] == ["a"]


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ('{"journal": 2}', "has version 2; this harness reads version 1"),
        ("[]", "cannot be read: line 1"),
        ("nonsense", "cannot be read: line 1"),
    ],
)
def test_a_journal_that_cannot_be_read_is_an_error(
    journal: Journal, local: Host, state: str, line: str, says: str
) -> None:
    Path(journal.path).write_text(line + "\n")
    with pytest.raises(JournalError, match=says):
        recover(local, state)
    assert Path(journal.path).exists()


def test_a_journal_that_others_could_write_is_refused(
    journal: Journal, local: Host, state: str
) -> None:
    os.chmod(journal.path, 0o622)
    with pytest.raises(StateRefused, match="has mode 622"):
        recover(local, state)
    os.chmod(journal.path, 0o600)
    os.chmod(journal.directory, 0o777)
    with pytest.raises(StateRefused, match="has mode 777"):
        Journal.create(local, named("run-2"), state)


@pytest.mark.parametrize("undo", [["rm -rf x"], [[]], [["rm", 1]]])
def test_an_undo_is_no_shell_text(journal: Journal, undo: Any) -> None:
    with pytest.raises(TypeError, match="list of words"):
        journal.record("s", "w", undo)


def _lock_of(state: str, **fields: object) -> None:
    """Make the lock another owner's."""
    path = Path(state) / "journal" / "host.lock"
    path.write_text(json.dumps(json.loads(path.read_text()) | fields) + "\n")


def test_the_second_is_refused_by_name(any_host: Host, state: str) -> None:
    with lock.locked(any_host, named("first"), state):
        with pytest.raises(lock.LockHeld, match=f"process {os.getpid()}, run first") as caught:
            lock.acquire(any_host, named("second"), state, recover=True)
        assert caught.value.owner.runner == socket.gethostname()
        lock.release(any_host, named("second"), state)  # not its own: no effect
        with pytest.raises(lock.LockHeld):
            lock.acquire(any_host, named("third"), state)
    lock.acquire(any_host, named("fourth"), state)


def test_a_lock_of_a_dead_boot_is_taken_over(local: Host, state: str) -> None:
    lock.acquire(local, named("first"), state)
    _lock_of(state, boot="0000", runner="elsewhere")
    lock.acquire(local, named("second"), state)
    with pytest.raises(lock.LockHeld, match="run second"):
        lock.acquire(local, named("third"), state)


def test_a_lock_of_a_dead_process_is_for_recover(local: Host, state: str) -> None:
    lock.acquire(local, named("first"), state)
    _lock_of(state, started=1)
    with pytest.raises(lock.LockHeld, match="python -m harness recover"):
        lock.acquire(local, named("second"), state)
    lock.acquire(local, named("second"), state, recover=True)


@pytest.mark.parametrize("where", [{"runner": "elsewhere"}, {"pid_ns": "pid:[1]"}])
def test_a_lock_of_another_machine_is_never_presumed_dead(
    local: Host, state: str, where: dict[str, str]
) -> None:
    """Nor that of another container: its process ids are not ours."""
    lock.acquire(local, named("first"), state)
    runner = where.get("runner", socket.gethostname())
    _lock_of(state, started=1, **where)
    with pytest.raises(lock.LockHeld, match=f"ask on '{runner}'"):
        lock.acquire(local, named("second"), state, recover=True)
