"""`python -m harness collect`: one masked archive, the same wherever it is made."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import tarfile
import tomllib
from pathlib import Path

import pytest

from harness import exits
from reports import collect, documents
from reports.record.integrity import check
from reports.record.reading import load
from tests.sample import during
from tests.unit import kept, records
from tests.unit.mini import PLUGINS, REPORTS, Mini

TOKEN = "hf_a1b2c3d4e5f6g7h8i9j0"


def opened(path: Path) -> dict[str, bytes]:
    """The files of an archive, by name."""
    with tarfile.open(path) as tar:
        found = {}
        for member in tar:
            file = tar.extractfile(member)
            assert file is not None
            found[member.name] = file.read()
            assert (member.uid, member.gid, member.uname, member.mode) == (0, 0, "", 0o644)
        return found


@pytest.fixture
def mini(tmp_path: Path) -> Mini:
    return Mini(tmp_path / "m", during.find_no_card, plugins=[*PLUGINS, REPORTS])


def test_a_run_as_one_archive(mini: Mini, tmp_path: Path) -> None:
    """Two copies of it in two places are the same archive, and tell of neither place."""
    mini.pytest("-m", "acceptance")
    run = mini.last.resolve().name
    (mini.last / "notes.txt").write_text("mine")
    (mini.last / "evidence" / "passwd").symlink_to("/etc/passwd")
    status, out = mini.harness("collect", str(mini.last), "-o", str(tmp_path / "a.tar.gz"))
    assert status == exits.PASSED, out
    found = opened(tmp_path / "a.tar.gz")
    assert [*found] == sorted(found)
    top = {name.removeprefix(f"{run}/").partition("/")[0] for name in found}
    assert top == {
        *("record.jsonl", "evidence", "profile.toml", "versions.json"),
        *documents.NAMES,
    }
    said = tomllib.loads(found[f"{run}/profile.toml"].decode())
    assert said["secrets"] == ["***", "MINI_SECRET"]
    assert json.loads(found[f"{run}/versions.json"])["run"] == run
    data = (tmp_path / "a.tar.gz").read_bytes()
    assert (tmp_path / "a.tar.gz").stat().st_mode & 0o777 == 0o600
    assert f"{len(data)} bytes, sha256 {hashlib.sha256(data).hexdigest()}" in out
    for left in ("notes.txt", "evidence/passwd"):
        assert f"left out, being no file of a run's: {left}\n" in out
    assert f"run {run} of lab mini: void\n" in out
    assert "ALTERED: evidence/passwd is in no event of the record" in out
    assert "nothing in it looks like a credential" in out
    copy = tmp_path / "elsewhere"
    shutil.copytree(mini.last, copy, ignore=shutil.ignore_patterns("notes.txt", "passwd"))
    assert mini.harness("collect", str(copy))[0] == exits.PASSED
    assert (mini.folder / f"{run}.tar.gz").read_bytes() == data


def test_where_there_is_nothing_it_says_so(mini: Mini) -> None:
    status, out = mini.harness("collect", "nowhere")
    assert status == exits.USAGE
    assert out.startswith("ERROR: There is nothing to collect: No record can be read at 'nowhere")
    assert not [*mini.folder.glob("*.tar.gz")]


def test_where_it_cannot_be_written_it_says_so(mini: Mini, tmp_path: Path) -> None:
    run = records.write(tmp_path / "run")
    status, out = mini.harness("collect", str(run.folder), "-o", str(tmp_path / "no" / "x.tar.gz"))
    assert status == exits.USAGE
    assert "cannot be written: No such file or directory." in out


def test_what_is_not_masked_yet_is_masked_and_told(mini: Mini, tmp_path: Path) -> None:
    run = records.write(tmp_path / "run", profile={"secrets": ["MINI_SECRET"]})
    (run.folder / "report.html").write_text(f"<p>--token {TOKEN} and s3cr3t-value")
    status, out = mini.harness("collect", str(run.folder), "-o", str(tmp_path / "a.tar.gz"))
    assert status == exits.PASSED
    assert opened(tmp_path / "a.tar.gz")["run/report.html"] == b"<p>--token *** and ***"
    assert "masked anew, so that its digest is another: report.html\n" in out
    assert "looks like a credential" not in out


@pytest.mark.parametrize("real", [kept.PASSED, kept.FAILED], ids=lambda path: path.name)
def test_of_a_real_run_all_is_masked_already(real: Path, tmp_path: Path) -> None:
    """What masks it anew would otherwise change digests that a colleague will compare."""
    shutil.copytree(real, tmp_path / "run")
    run = load(tmp_path / "run")
    documents.write(run, check(run), run.folder)
    members, masked, left_out = collect.gathered(run)
    assert (masked, left_out) == ([], [])
    data = collect.archive("run", members, 0)
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        tar.extractall(tmp_path / "there", filter="data")
    there = load(tmp_path / "there" / "run")
    assert check(there).intact
    assert there.digest == run.digest


def test_a_name_that_would_lead_elsewhere_does_not(mini: Mini, tmp_path: Path) -> None:
    records.Made().write(tmp_path / "run")
    path = tmp_path / "run" / "record.jsonl"
    path.write_text(path.read_text().replace('"id": "run"', '"id": "../../x"', 1))
    assert mini.harness("collect", str(tmp_path / "run"))[0] == exits.PASSED
    assert all(name.startswith("_.._x/") for name in opened(mini.folder / "_.._x.tar.gz"))
