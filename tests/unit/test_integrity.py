"""What was altered, cut or added is told: by the chain, by digests, by what was noted elsewhere."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from reports import documents
from reports.__main__ import main
from reports.history.history import HistoryError, opened
from reports.html import html
from reports.record.integrity import check
from reports.record.reading import load
from reports.record.record import Record
from tests.unit import records
from tests.unit.mini import ROOT, Mini, sample

TESTS = {"bound": ("passed", ""), "group": ("error", "no group"), "viable": ("passed", "")}


@pytest.fixture
def failed(tmp_path: Path) -> Record:
    """A run with evidence."""
    return records.write(tmp_path / "run 1", TESTS, evidence=["failure", "dmesg"], exit_status=1)


def _reports(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: str | Path
) -> tuple[int, str]:
    monkeypatch.setattr("sys.argv", ["reports", *map(str, arguments)])
    status = main()
    return status, "".join(capsys.readouterr())


@pytest.mark.parametrize(
    ("file", "old", "new", "said"),
    [
        ("record.jsonl", b'"passed"', b'"failed"', "record.jsonl line 6 is not what was written"),
        ("record.jsonl", b'"seconds": 1.0', b'"seconds": 2.0', "line 5 is not what was written"),
        ("failure.txt", b"text", b"test", "failure.txt is not what was collected"),
    ],
)
def test_what_was_altered_is_told(
    failed: Record, file: str, old: bytes, new: bytes, said: str
) -> None:
    assert check(failed).intact
    (path,) = failed.folder.rglob(file)
    path.write_bytes(path.read_bytes().replace(old, new, 1))
    found = check(load(failed.folder))
    assert said in "; ".join(found.problems)
    assert "The record or its evidence was altered." in html.page(load(failed.folder), found)


def test_an_altered_record_is_void_in_every_document(
    failed: Record, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = failed.folder / "record.jsonl"
    path.write_bytes(path.read_bytes().replace(b'"outcome": "error"', b'"outcome": "passed"'))
    status, said = _reports(monkeypatch, capsys, "render", failed.folder)
    assert status == 1
    assert "verdict          void" in said
    junit = (failed.folder / "junit.xml").read_text()
    assert '<error type="void" message="record.jsonl line 9 is not what was written' in junit
    *_, end = (failed.folder / "ocp.jsonl").read_text().splitlines()
    ended = json.loads(end)["testRunArtifact"]["testRunEnd"]
    assert ended == {"status": "ERROR", "result": "NOT_APPLICABLE"}
    page = (failed.folder / "report.html").read_text()
    assert 'id="signature"' not in page
    assert '<span class="badge void">void</span>' in page


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"seconds": 1.0', b'"seconds": 9, "seconds": 1.0'),
        (b'"seconds": 1.0', b'"seconds": 1.00'),
        (b'"stage"', b'"\\u0073tage"'),
    ],
)
@pytest.mark.finding("F13", "keys twice in a record")
def test_what_another_reader_would_read_otherwise_is_told(
    failed: Record, old: bytes, new: bytes
) -> None:
    path = failed.folder / "record.jsonl"
    path.write_bytes(path.read_bytes().replace(old, new, 1))
    assert "is not what was written" in check(load(failed.folder)).problems[0]


@pytest.mark.finding("F13", "a link to a folder among the evidence")
def test_evidence_outside_of_the_run_is_not_read(failed: Record, tmp_path: Path) -> None:
    (failed.folder / "evidence" / "folder").symlink_to(tmp_path)
    path = failed.folder / "record.jsonl"
    path.write_bytes(path.read_bytes().replace(b'"file": "evidence/', b'"file": "../../'))
    found = "; ".join(check(load(failed.folder)).problems)
    assert "is not in the run's folder" in found
    assert "evidence/folder is in no event of the record" in found


def test_what_was_cut_is_told(failed: Record) -> None:
    path = failed.folder / "record.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:2], *lines[3:]]))
    assert "line 3 is not what was written" in check(load(failed.folder)).problems[0]
    next(failed.folder.rglob("dmesg.txt")).unlink()
    path.write_bytes(b"".join(lines))
    assert "dmesg.txt is missing" in check(load(failed.folder)).problems[0]


@pytest.mark.finding("F13", "text that is appended to evidence")
def test_what_was_added_is_told(failed: Record) -> None:
    path = failed.folder / "record.jsonl"
    (failed.folder / "evidence" / "more.txt").write_text("more")
    path.write_bytes(path.read_bytes() + b"more")
    assert check(load(failed.folder)).problems == (
        "record.jsonl has 4 bytes after its last line",
        "evidence/more.txt is in no event of the record",
    )


def test_a_run_that_was_killed_is_incomplete_and_not_altered(failed: Record) -> None:
    path = failed.folder / "record.jsonl"
    path.write_bytes(path.read_bytes().rstrip(b"\n").rpartition(b"\n")[0] + b'\n{"kind": "ru')
    found = check(load(failed.folder))
    assert (found.problems, found.incomplete, found.intact) == ((), True, False)
    text = html.page(load(failed.folder), found)
    assert "The record has no end." in text
    assert "was altered" not in text


def test_the_command_tells_both(
    failed: Record, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    status, said = _reports(monkeypatch, capsys, "render", failed.folder)
    assert (status, "ALTERED" in said) == (0, False)
    path = failed.folder / "record.jsonl"
    path.write_bytes(path.read_bytes().replace(b'"passed"', b'"failed"'))
    for _ in range(2):  # rendering does not make it right
        status, said = _reports(monkeypatch, capsys, "render", failed.folder)
        assert status == 1
        assert "ALTERED: record.jsonl line 6 is not what was written" in said
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:3]))
    (failed.folder / "summary.json").unlink()
    status, said = _reports(monkeypatch, capsys, "render", failed.folder)
    assert (status, "INCOMPLETE: " in said, "ALTERED" in said) == (1, True, False)


def _chained_anew(folder: Path, id: str) -> None:
    """Another record, whole by its own chain: only a digest kept elsewhere tells."""
    shutil.rmtree(folder)
    records.write(folder, TESTS, exit_status=0)
    assert load(folder).id == id


def test_a_new_chain_is_told_by_the_digest_of_the_summary(
    failed: Record, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = failed.folder.parent / "out"
    assert _reports(monkeypatch, capsys, "render", failed.folder, "--out", out)[0] == 0
    _chained_anew(failed.folder, failed.id)
    for _ in range(2):
        status, said = _reports(monkeypatch, capsys, "render", failed.folder, "--out", out)
        assert status == 1
        assert f"summary.json has another sha256 of record.jsonl: {failed.digest}" in said


def test_a_new_chain_is_told_by_the_digest_of_the_history(
    failed: Record, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = failed.folder.parent / "history.sqlite"
    with opened(path) as history:
        history.add(failed)
    _chained_anew(failed.folder, failed.id)
    before = path.read_bytes()
    path.chmod(0o444)
    status, said = _reports(monkeypatch, capsys, "render", failed.folder, "--history", path)
    assert (status, path.read_bytes()) == (1, before)
    path.chmod(0o644)
    assert f"history.sqlite has another sha256 of record.jsonl: {failed.digest}" in said
    with pytest.raises(HistoryError, match="is known with another record"), opened(path) as history:
        history.add(load(failed.folder))


def test_rendered_elsewhere_it_says_the_same(failed: Record, tmp_path: Path) -> None:
    documents.write(failed, check(failed), tmp_path / "first")
    done = subprocess.run(
        [
            *(sys.executable, "-m", "reports", "render", str(failed.folder)),
            *("--out", str(tmp_path / "second")),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    for name in ("report.html", "summary.json", "ocp.jsonl", "junit.xml"):
        first, second = (tmp_path / out / name for out in ("first", "second"))
        assert first.read_bytes() == second.read_bytes(), name


def test_what_cannot_be_done_is_a_sentence(
    failed: Record, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = failed.folder.parent / "broken.sqlite"
    broken.write_text("this is no database " * 100)
    in_the_way = failed.folder.parent / "file"
    in_the_way.write_text("")
    for arguments, said in (
        (("render", failed.folder, "--out", in_the_way / "out"), f"'{in_the_way}/out'"),
        (("trend", "--history", broken), f"'{broken}' cannot be used: file is not a database"),
        (("trend", "--history", in_the_way / "x", "--out", in_the_way), f"'{in_the_way}'"),
        (("render", failed.folder.parent / "nowhere"), "No record can be read"),
    ):
        status, out = _reports(monkeypatch, capsys, *arguments)
        assert status == 2
        assert out.startswith("reports: ")
        assert said in out
        assert "Traceback" not in out


def test_what_others_write_as_evidence_is_listed_too(tmp_path: Path) -> None:
    mini = Mini(tmp_path / "m", suite=sample("suite_console"))
    assert mini.pytest("-m", "acceptance")[0] == 0
    (event,) = [event for event in mini.record() if event["kind"] == "evidence"]
    assert (event["nodeid"], event["file"]) == (None, "evidence/console.log")
    run = load(mini.last)
    assert check(run).intact
    console = run.folder / "evidence" / "console.log"
    assert console.read_text() == "booted with ***"
    with console.open("a") as out:
        out.write("a lab that was kept goes on")
    assert check(run).intact
    console.write_text("booted not")
    assert not check(run).intact
