"""Write-ahead, reverse, repeatable; and one run a host."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import socket
import subprocess
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from harness.errors import LabError, Refused
from harness.host.command import HostUnreachable
from harness.host.host import Host
from harness.undo import journal as journals
from harness.undo import lock
from harness.undo import undo as undoing
from harness.undo.journal import Journal, JournalError
from harness.undo.lock import StateRefused
from harness.undo.undo import recover, undo
from harness.wait import wait_for
from tests.unit.conftest import named, room
from tests.unit.patience import PATIENCE


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


def test_a_file_is_taken_back_while_it_is_what_was_put_there(
    journal: Journal, tmp_path: Path
) -> None:
    ours = hashlib.sha256(b"ours").hexdigest()
    old, new, theirs = (tmp_path / name for name in ("old", "new", "theirs"))
    old.write_text("before")
    for path in (old, new, theirs):
        journal.save_file("s", str(path), durable=True, sha256=ours)
        journal.host.write(str(path), "ours")
    theirs.write_text("somebody's own, since")
    assert [r.outcome for r in undo(journal, True)] == ["not needed", "undone", "undone"]
    assert old.read_text() == "before"
    assert not new.exists()
    assert theirs.read_text() == "somebody's own, since"


def test_what_is_kept_by_its_identity_takes_the_place_of_what_was_begun(
    journal: Journal, local: Host, state: str, tmp_path: Path
) -> None:
    begun = journal.record("s", "make it", _note(tmp_path, "begun"))
    journal.keep(begun, "it, number 7", _note(tmp_path, "7"))
    assert undo(journal, False) == []
    (loaded,) = journals.load_all(local, state)
    assert [entry.what for entry in loaded.pending()] == ["it, number 7"]
    assert [result.entry.what for result in recover(local, state, durable=True)] == ["it, number 7"]
    assert (tmp_path / "notes").read_text() == "7\n"


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


ENTRY = {
    "id": 2,
    "stage": "s",
    "what": "w",
    "undo": [["touch", "executed"]],
    "when": None,
    "durable": False,
}


def _malformed() -> dict[str, tuple[int, str, str]]:
    """Of each: which line is in the place of another, the line, and what is said of it."""

    def entry(**other: object) -> str:
        return json.dumps(ENTRY | other)

    forms = {
        "undo is a text": (entry(undo="ls"), "'undo' has to be a list of commands"),
        "a command is a text": (entry(undo=["touch"]), "'undo' has to be"),
        "no command": (entry(undo=[]), "'undo' has to be"),
        "no word": (entry(undo=[[]]), "'undo' has to be"),
        "no program": (entry(undo=[["", "x"]]), "'undo' has to be"),
        "a NUL": (entry(undo=[["a\0b"]]), "'undo' has to be"),
        "a number for a word": (entry(undo=[["kill", 1]]), "'undo' has to be"),
        "a dict for words": (entry(undo=[{"touch": "x"}]), "'undo' has to be"),
        "when is a text": (entry(when="true"), "'when' has to be null, or a list of words"),
        "when is false": (entry(when=False), "'when' has to be"),
        "durable is a text": (entry(durable="no"), "'durable' has to be true or false"),
        "durable is a number": (entry(durable=0), "'durable' has to be"),
        "an id that is there": (entry(id=1), "'id' has to be above the ids before it"),
        "an id that is true": (entry(id=True), "'id' has to be a whole number above 0"),
        "an id with a point": (entry(id=2.0), "'id' has to be"),
        "no stage": (entry(stage=""), "'stage' has to be a text"),
        "nothing is said": (entry(what=None), "'what' has to be a text"),
        "one name more": (entry(undone=True), "'undone' is nothing that stands there"),
        "a name twice": ('{"id": 2, "id": 3}', "a name stands in it twice"),
        "a name is missing": ('{"id": 2}', "'stage' is missing; it has to be a text"),
        "done is true": ('{"done": true, "outcome": "undone"}', "'done' has to be a whole number"),
        "done is a text": ('{"done": "1", "outcome": "undone"}', "'done' has to be"),
        "done of no entry": ('{"done": 7, "outcome": "undone"}', "'done' has to be the id of"),
        "a list": ("[1]", "a JSON object was expected"),
        "nothing": ("", "a JSON object was expected"),
        "not JSON": ("rm -rf /", "a JSON object was expected"),
        "too deep": ("[" * 100_000, "it is nested too deeply"),
    }
    return {about: (3, line, says) for about, (line, says) in forms.items()}


def _header(line: str, **other: object) -> str:
    return json.dumps(json.loads(line) | other)


@pytest.mark.parametrize(("number", "line", "says"), _malformed().values(), ids=_malformed())
@pytest.mark.finding("C12", "a malformed journal is half executed, or blocks the good ones")
def test_a_malformed_journal_is_refused_whole_and_the_others_are_undone(
    journal: Journal, local: Host, state: str, tmp_path: Path, number: int, line: str, says: str
) -> None:
    journal.record("s", "good", _note(tmp_path, "executed"))
    content = Path(journal.path).read_text() + f"{line}\n"
    Path(journal.path).write_text(content)
    other = Journal.create(local, named("run-2"), state)
    other.record("s", "other", _note(tmp_path, "other"))
    told: list[Any] = []
    with pytest.raises(journals.JournalUnreadable) as caught:
        recover(local, state, tell=told.append)
    assert f"'{journal.path}' on 'local' cannot be read: line {number}: {says}" in str(caught.value)
    assert "by hand" in (caught.value.hint or "")
    assert [result.entry.what for result in told] == ["other"]
    assert (tmp_path / "notes").read_text() == "other\n"
    assert Path(journal.path).read_text() == content


@pytest.mark.parametrize(
    ("other", "says"),
    [
        ({"journal": True}, "has version True"),
        ({"journal": 1.0}, "has version 1.0"),
        ({"journal": "1"}, "has version '1'"),
        ({"run": "another"}, "'run' has to be the run of the file's name"),
        ({"run": ".*"}, "'run' has to be the id of a run"),
        ({"pid": "1"}, "'pid' has to be a whole number"),
        ({"more": 1}, "'more' is nothing that stands there"),
    ],
)
def test_a_malformed_header_is_refused(
    journal: Journal, local: Host, state: str, other: dict[str, object], says: str
) -> None:
    path = Path(journal.path)
    path.write_text(_header(path.read_text(), **other) + "\n")
    with pytest.raises(journals.JournalUnreadable, match=says.replace("*", r"\*")):
        Journal.load(local, journal.run_id, state)


@pytest.mark.finding("F16", "a name with a blank is two runs, and stops the recovery")
def test_journals_that_are_no_journals_are_named_each(
    journal: Journal, local: Host, state: str, tmp_path: Path
) -> None:
    journal.record("s", "good", _note(tmp_path, "good"))
    folder = Path(journal.directory)
    (folder / "a folder.jsonl").mkdir()
    (folder / "x.jsonl").mkdir()
    (folder / "link.jsonl").symlink_to(journal.path)
    (folder / "line\nbreak.jsonl").touch()
    with (folder / "huge.jsonl").open("wb") as huge:
        huge.truncate(journals.LIMIT + 1)
    (folder / "huge.jsonl").chmod(0o600)
    with pytest.raises(Refused) as caught:
        recover(local, state)
    said = str(caught.value)
    assert "'x' " not in said
    assert f"{folder}/x.jsonl' on 'local' cannot be read: it is a directory" in said
    assert f"{folder}/link.jsonl' on 'local' cannot be read: it is a symbolic link" in said
    assert "a folder.jsonl' on 'local' cannot be read: its name is not that of a run" in said
    assert "break.jsonl' on 'local' cannot be read: its name is not that of a run" in said
    assert "huge.jsonl' on 'local' cannot be read: it has more than 16 MiB" in said
    assert (tmp_path / "notes").read_text() == "good\n"
    with pytest.raises(Refused):
        journals.load_all(local, state)


@pytest.mark.finding("F16", "a journal above 1 MiB is unreadable and stands before all others")
def test_a_journal_of_more_than_a_mebibyte_is_read_whole(
    journal: Journal, local: Host, state: str, tmp_path: Path
) -> None:
    for number in range(3):
        journal.record("s", f"{number}" + "机" * 100_000, _note(tmp_path, str(number)))
    assert Path(journal.path).stat().st_size > 1 << 20
    assert [result.outcome for result in recover(local, state)] == ["undone"] * 3
    assert (tmp_path / "notes").read_text() == "2\n1\n0\n"


def test_an_id_is_not_used_again_where_its_line_may_stand(
    journal: Journal, local: Host, state: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    append = journal._append

    def lost(data: dict[str, Any]) -> None:
        append(data)
        raise HostUnreachable("lost")

    monkeypatch.setattr(journal, "_append", lost)
    with pytest.raises(HostUnreachable):
        journal.record("s", "first", [["true"]])
    monkeypatch.undo()
    journal.record("s", "second", [["true"]])
    assert [result.entry.what for result in recover(local, state)] == ["second", "first"]


@pytest.mark.finding("C12", "a state folder or a journal that another user can write")
def test_a_journal_that_others_could_write_is_refused(
    journal: Journal, local: Host, state: str, tmp_path: Path
) -> None:
    other = Journal.create(local, named("run-2"), state)
    other.record("s", "good", _note(tmp_path, "good"))
    os.chmod(journal.path, 0o622)
    with pytest.raises(StateRefused, match="has mode 622"):
        recover(local, state)
    assert (tmp_path / "notes").read_text() == "good\n"
    os.chmod(journal.path, 0o600)
    for folder in (journal.directory, state):
        os.chmod(folder, 0o777)
        with pytest.raises(StateRefused, match=f"'{folder}' has mode 777"):
            Journal.create(local, named("run-3"), state)
        os.chmod(folder, 0o700)


@pytest.mark.finding("C12", "an undo that hangs")
def test_an_undo_that_hangs_is_ended_and_told_with_what_to_type(
    journal: Journal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(undoing, "UNDO_TIMEOUT", 0.2)
    journal.record("s", "first", _note(tmp_path, "first"))
    journal.record("s", "hangs", [["sleep", "1000"], ["rm", "a file"]])
    journal.record("s", "a script", [["sh", "-euc", "\nsleep 1000\n", "sh", "x"]])
    script, hangs, first = undo(journal, False)
    assert (script.outcome, hangs.outcome, first.outcome) == ("failed", "failed", "undone")
    assert "was still running after" in hangs.error
    assert "by hand, as root on 'local': sleep 1000; rm 'a file'" in hangs.error
    assert "sleep 1000" not in script.error
    assert "sh -euc '...' sh x" in script.error
    (typed,) = (line for line in script.error.splitlines() if line.startswith("by hand"))
    line = subprocess.run(typed.partition(": ")[2], shell=True, capture_output=True, check=True)
    assert json.loads(line.stdout)["what"] == "a script"


@pytest.mark.parametrize("undo", [["rm -rf x"], [[]], [["rm", 1]], [], [[""]]])
@pytest.mark.finding("C12", "a text in the place of an undo is executed letter by letter")
def test_an_undo_is_no_shell_text(journal: Journal, undo: Any) -> None:
    with pytest.raises(TypeError, match="a list of words"):
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


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("garbage", "a JSON object was expected"),
        ("[]", "a JSON object was expected"),
        ('{"run": "x"}', "'user' is missing"),
        ('{"run": ".*"}', "'run' has to be the id of a run"),
    ],
)
@pytest.mark.finding("C13", "a malformed lock")
def test_a_malformed_lock_is_refused_and_stays(
    local: Host, state: str, text: str, says: str
) -> None:
    with lock.locked(local, named("first"), state):
        path = Path(state) / "journal" / "host.lock"
        good = path.read_text()
        path.write_text(text)
        for again in (False, True):
            with pytest.raises(Refused) as caught:
                lock.acquire(local, named("second"), state, recover=again)
            assert f"its lock '{path}' cannot be read: {says}" in caught.value.message
            assert "remove it" in (caught.value.hint or "")
        assert path.read_text() == text
        path.write_text(good)


@pytest.mark.finding("C13", "a guard that is held, without a word of who")
def test_a_guard_that_is_held_names_its_holder(
    local: Host, state: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock, "GUARD", 0.0)
    guard = Path(state) / "journal" / "host.lock.guard"
    with lock.locked(local, named("first"), state), guard.open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(Refused, match=rf"in use by process {os.getpid()} \(.*python") as caught:
            lock.acquire(local, named("second"), state)
        assert "fuser" in (caught.value.hint or "")
        fcntl.flock(held, fcntl.LOCK_UN)


@pytest.mark.finding("C8", "the state folder, its lock's guard and empty folders stay")
def test_nothing_stays_where_nothing_is_kept(local: Host, state: str, tmp_path: Path) -> None:
    with lock.locked(local, named("first"), state):
        (Path(state) / "jobs").mkdir()
        (Path(state) / "journal" / "host.lock.new").touch()  # a full disk's
        journal = Journal.create(local, named("first"), state)
        journal.record("s", "kept", [["true"]], durable=True)
        undo(journal, False)
    kept = sorted(path.name for path in Path(state).rglob("*"))
    assert kept == sorted(["host.lock.guard", "journal", f"{named('first')}.jsonl"])
    with lock.locked(local, named("second"), state, recover=True):
        recover(local, state, durable=True)
    assert not Path(state).exists()


def test_one_who_waits_for_a_guard_that_goes_takes_the_next(local: Host, state: str) -> None:
    """The lock is given back while another waits: what he waited for guards nothing any more."""
    guard = Path(state) / "journal" / "host.lock.guard"
    lock.acquire(local, named("first"), state)
    with guard.open() as held, ThreadPoolExecutor(1) as pool:
        fcntl.flock(held, fcntl.LOCK_EX)
        waits = pool.submit(lock.acquire, local, named("second"), state)
        inode = f":{guard.stat().st_ino} "
        wait_for("it waits", lambda: "->" in _locks(inode), PATIENCE, 0.02)
        shutil.rmtree(state)
        fcntl.flock(held, fcntl.LOCK_UN)
        waits.result(PATIENCE)
    with pytest.raises(lock.LockHeld, match="run second"):
        lock.acquire(local, named("third"), state)


def _locks(inode: str) -> str:
    lines = Path("/proc/locks").read_text().splitlines()
    return "\n".join(line for line in lines if inode in line)


def test_a_lock_for_which_there_is_no_room_is_a_refusal(local: Host, state: str) -> None:
    lock.secure(local, state)
    with room(0), pytest.raises(Refused, match="cannot be taken") as caught:
        lock.acquire(local, named("first"), state)
    assert "df" in (caught.value.hint or "")
    assert [path.name for path in Path(state, "journal").iterdir()] == ["host.lock.guard"]


def test_a_run_whose_commands_cannot_be_ended_does_not_keep_others_from_being_undone(
    journal: Journal, local: Host, state: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal.record("s", "first", _note(tmp_path, "first"))
    stuck = Journal.create(local, named("stuck"), state)
    stuck.record("s", "stuck", _note(tmp_path, "stuck"))

    def end(host: Host, run_id: str) -> None:
        if run_id == stuck.run_id:
            raise LabError("It cannot be ended.")

    monkeypatch.setattr(undoing, "end_commands", end)
    with pytest.raises(LabError, match="cannot be ended"):
        recover(local, state)
    assert (tmp_path / "notes").read_text() == "first\n"
    assert journals.journals(local, state) == [stuck.run_id]
