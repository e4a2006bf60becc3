"""The page of a fleet: a row for each host, and what is particular to those that failed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from fixtures.platform.host_inventory import HostInventory
from reports.__main__ import main
from reports.fleet import hosts, page
from reports.fleet.differences import Difference, differences, gain_ratio
from reports.fleet.hosts import Host
from tests.unit import records

OLD, NEW = ("Byosoft 1.2",), ("Byosoft 1.5",)
BAD = {"bound": ("failed", "E   no <b>card</b>")}


def _host(
    folder: Path,
    name: str,
    firmware: tuple[str, ...] = NEW,
    memory: str = "512 GiB",
    **more: Any,
) -> Path:
    """A run's folder; `more` are fields of `records.Made`."""
    found = HostInventory((name,), (f"id-{name}",), firmware, (), (memory,), (), (), ())
    lab = {"name": name, "target": {"kind": "ssh", "address": f"ssh://root@{name}"}}
    records.write(folder / f"run-{name}", profile=lab, facts={"inventory": found}, **more)
    return folder / f"run-{name}"


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six hosts: two failed, which have old firmware; one was not reached; each has its memory."""
    folder = tmp_path_factory.mktemp("fleet")
    for number, name in enumerate(("good-1", "good-2", "good-3")):
        _host(folder, name, memory=f"{500 + number} GiB")
    for number, name in enumerate(("bad-1", "bad-2")):
        _host(folder, name, OLD, f"{600 + number} GiB", tests=BAD, exit_status=1)
    _host(folder, "away", OLD, "1 GiB", tests={}, exit_status=10)
    return folder


def _all(folder: Path) -> list[Host]:
    return hosts.read_all(hosts.runs(folder))


def _names(found: list[Difference]) -> list[str]:
    return [one.name for one in found]


def test_what_failed_is_first_and_a_host_that_was_not_reached_is_neither(fleet: Path) -> None:
    found = hosts.ordered(_all(fleet))
    assert [(one.lab, one.kind) for one in found] == [
        *(("bad-1", "failed"), ("bad-2", "failed"), ("away", "open")),
        *(("good-1", "passed"), ("good-2", "passed"), ("good-3", "passed")),
    ]
    assert [(one.subject, one.cause) for one in found[:3]] == [
        *[(f"{records.NODE}bound", "no <b>card</b>")] * 2,
        ("", ""),
    ]
    assert "exit status 10" in page.said(found[2])


def test_the_difference_is_what_hosts_of_one_outcome_share(fleet: Path) -> None:
    [failure] = page.failures(_all(fleet))
    assert _names(list(failure.telling)) == ["Firmware"], "memory is each host's own"
    [old, new] = failure.telling[0].values
    assert (old.text, [one.lab for one in old.failed], list(old.passed)) == (
        *("Byosoft 1.2", ["bad-1", "bad-2"]),
        [],
    )
    assert (new.text, list(new.failed), len(new.passed)) == ("Byosoft 1.5", [], 3)
    assert failure.telling[0].ratio == pytest.approx(1)


def test_each_failure_is_held_against_the_hosts_that_passed_by_itself(tmp_path: Path) -> None:
    _host(tmp_path, "good")
    _host(tmp_path, "one", OLD, tests=BAD, exit_status=1)
    _host(tmp_path, "two", memory="8 GiB", tests={"x": ("failed", "E   y")}, exit_status=1)
    found = {one.subject: _names(list(one.telling)) for one in page.failures(_all(tmp_path))}
    assert found == {f"{records.NODE}bound": ["Firmware"], f"{records.NODE}x": ["Memory"]}


def test_what_one_side_does_not_know_explains_nothing(tmp_path: Path) -> None:
    good = _host(tmp_path, "good")
    bad = _host(tmp_path, "bad", firmware=(), tests=BAD, exit_status=1)
    failed, passed = (hosts.read_all([one]) for one in (bad, good))
    assert differences(failed, passed) == []


def test_the_gain_ratio_is_quinlans() -> None:
    """The attribute `outlook` of his example of 14 days, 9 of which are P: 0.247 of 1.577 bits."""
    assert gain_ratio([(2, 3), (4, 0), (3, 2)]) == pytest.approx(0.247 / 1.577, abs=1e-3)
    assert gain_ratio([(4, 5)]) == 0


def test_what_is_odd_about_the_records_is_told(tmp_path: Path) -> None:
    _host(tmp_path, "a", commit="a" * 40)
    _host(tmp_path, "b", commit="b" * 40)
    twin = HostInventory(("a",), ("id-a",), (), (), (), (), (), ())
    lab = {"name": "twin", "target": {"kind": "ssh", "address": "ssh://root@twin"}}
    records.write(tmp_path / "t", profile=lab, facts={"inventory": twin}, commit="a" * 40)
    said = " ".join(page.lines(_all(tmp_path)))
    assert "several versions of the harness" in said
    assert "aaaaaaaaaaaa, bbbbbbbbbbbb" in said
    assert "a, twin: these labs are one machine, a (id-a)" in said


def test_a_record_that_was_altered_counts_on_neither_side(tmp_path: Path) -> None:
    run = _host(tmp_path, "a") / "record.jsonl"
    run.write_bytes(run.read_bytes().replace(b"Byosoft 1.5", b"Byosoft 1.6"))
    [found] = _all(tmp_path)
    assert (found.kind, found.verdict, found.whole) == ("open", "void", False)


def _main(monkeypatch: pytest.MonkeyPatch, *words: str | Path) -> int:
    monkeypatch.setattr("sys.argv", ["reports", "fleet", *map(str, words)])
    return main()


@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_command_makes_the_page_of_a_folder_of_runs(
    fleet: Path,
    tmp_path: Path,
    language: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (fleet / "run-bad-1" / "report.html").touch()
    assert _main(monkeypatch, fleet, "--out", tmp_path / "f.html", "--lang", language) == 0
    out, text = capsys.readouterr().out, (tmp_path / "f.html").read_text()
    assert "first failure of bad-1, bad-2: suites/test_gpu.py::test_bound\n" in out
    assert "  Firmware = Byosoft 1.2: 2 failed, 0 passed\n" in out
    assert {"en": "Firmware", "zh": "固件"}[language] in text
    assert "no &lt;b&gt;card&lt;/b&gt;" in text
    assert "run-bad-1/report.html" in text
    assert "run-bad-2/report.html" not in text, "there is none"


def test_of_several_runs_of_one_host_the_newest_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _host(tmp_path / "1", "a", tests=BAD, exit_status=1)
    _host(tmp_path / "2", "a")
    both = (tmp_path / "2", tmp_path / "1")
    assert _main(monkeypatch, *both, "--out", tmp_path / "f.html") == 0
    assert "1 host: 1 passed" in capsys.readouterr().out


def test_records_of_two_versions_are_refused_before_a_page_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _host(tmp_path, "a")
    other = _host(tmp_path, "b") / "record.jsonl"
    first, *rest = other.read_text().splitlines()
    started = json.dumps(json.loads(first) | {"format": 2})
    other.write_text("\n".join([started, *rest, ""]))
    assert _main(monkeypatch, tmp_path, "--out", tmp_path / "f.html") == 2
    assert f"'{other}' has format 2; this version reads 3." in capsys.readouterr().err
    assert not (tmp_path / "f.html").exists()


def test_a_folder_without_runs_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _main(monkeypatch, tmp_path) == 2
    assert "is no run's folder, and none lies in it" in capsys.readouterr().err
