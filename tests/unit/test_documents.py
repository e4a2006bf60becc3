"""Documents are whole or not there, one that fails takes no other along, and render mends them."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from harness.record.files import replace
from reports import documents
from reports.__main__ import main
from reports.formats import junit, markdown, ocp, summary
from reports.html import html
from reports.record.integrity import check
from reports.record.record import Record
from tests.unit import records

MAKERS = {
    "summary.json": (summary, "document"),
    "junit.xml": (junit, "document"),
    "ocp.jsonl": (ocp, "document"),
    "report.html": (html, "page"),
    "summary.md": (markdown, "document"),
}


@pytest.fixture
def run(tmp_path: Path) -> Record:
    return records.write(tmp_path / "run 1")


def _rendered(
    run: Record, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *more: str
) -> tuple[int, str]:
    monkeypatch.setattr("sys.argv", ["reports", "render", str(run.folder), *more])
    status = main()
    return status, "".join(capsys.readouterr())


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.finding("F1", "a document that cannot be made takes the others with it")
def test_one_that_fails_takes_no_other_with_it(
    name: str, run: Record, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails(*_: object, **__: object) -> None:
        raise KeyError("no such thing")

    monkeypatch.setattr(*MAKERS[name], fails)
    written = documents.write(run, check(run), run.folder)
    assert list(written.failed) == [name]
    assert {path.name for path in run.folder.iterdir()} == {*MAKERS, "record.jsonl"} - {name}
    status, said = _rendered(run, monkeypatch, capsys)
    assert status == 2
    assert f"{name} could not be made: KeyError: 'no such thing'" in said
    monkeypatch.undo()
    assert _rendered(run, monkeypatch, capsys)[0] == 0
    assert (run.folder / name).exists()


@pytest.mark.parametrize("left", [b"", b'{"format": 1, "id": "run', b"[]", b"\xff\xfe", b"null"])
def test_render_mends_what_a_crash_left(
    left: bytes, run: Record, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    documents.write(run, check(run), run.folder)
    whole = {path.name: path.read_bytes() for path in run.folder.iterdir()}
    for name in MAKERS:
        (run.folder / name).write_bytes(left)
    (run.folder / ".report.html.999999999.new").write_bytes(left)
    for _ in range(2):
        status, said = _rendered(run, monkeypatch, capsys)
        assert (status, "ALTERED" in said) == (0, False)
    assert {path.name: path.read_bytes() for path in run.folder.iterdir()} == whole


@pytest.mark.parametrize("kind", ["garbage", "empty", "cut", "locked"])
@pytest.mark.finding("F12", "a broken history stops the rendering of a run")
def test_a_history_that_cannot_be_read_stops_no_render(
    kind: str, run: Record, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = run.folder.parent / "history.sqlite"
    monkeypatch.setattr("reports.history.history.PATIENCE", 0.01)
    database = sqlite3.connect(path, isolation_level=None)
    database.execute("CREATE TABLE run (id TEXT)")
    if kind == "locked":
        database.execute("BEGIN EXCLUSIVE")
    else:
        database.close()
        path.write_bytes(
            {"garbage": b"x" * 5000, "empty": b"", "cut": path.read_bytes()[:99]}[kind]
        )
    status, said = _rendered(run, monkeypatch, capsys, "--history", str(path))
    database.close()
    assert status == 0
    assert "The digest in it is not compared." in said
    assert (run.folder / "report.html").exists()


@pytest.mark.finding("F12", "half a document, after a crash or a full disk")
def test_a_file_is_replaced_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a"
    replace(path, b"before")
    path.chmod(0o600)

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space"):
            replace(path, b"after")
    assert [p.read_bytes() for p in tmp_path.iterdir()] == [b"before"]
    replace(path, b"after")
    assert (path.read_bytes(), path.stat().st_mode & 0o777) == (b"after", 0o600)


@pytest.mark.parametrize("encoding", ["ascii", "gbk"])
def test_the_command_prints_what_no_terminal_has(tmp_path: Path, encoding: str) -> None:
    run = records.write(tmp_path / "r", {"x": ("failed", "E   模型 ✓ \udca1")}, exit_status=1)
    done = subprocess.run(
        [sys.executable, "-m", "reports", "render", str(run.folder)],
        cwd=Path(documents.__file__).parents[1],
        env=os.environ | {"PYTHONIOENCODING": encoding},
        capture_output=True,
    )
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("words", ["reports render RUN", "harness --version", "vlab faults list"])
def test_commands_end_quietly_where_nobody_reads_on(
    run: Record, words: str, unbuffered: str
) -> None:
    given = [str(run.folder) if word == "RUN" else word for word in words.split()]
    command = [sys.executable, "-m", *given]
    root, pipe = Path(documents.__file__).parents[1], subprocess.PIPE
    environ = os.environ | {"PYTHONUNBUFFERED": unbuffered}
    with subprocess.Popen(command, cwd=root, stdout=pipe, stderr=pipe, env=environ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 141, "as of a program that SIGPIPE has ended"
