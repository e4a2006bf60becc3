"""The fault catalogue's form on the virtual lab: what is set off there, and what is judged."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fixtures.guide import clauses
from fixtures.profile import Profile
from harness.profile.schema import load as profile_of
from harness.run.stage import DECLARED
from tests.unit.kept import PASSED
from tests.unit.mini import ROOT
from vlab import cli, face
from vlab.errors import VlabError
from vlab.faults import Fault, OnLab, command, load, on_lab
from vlab.faults.on_lab import Found
from vlab.faults.verdict import suite_of, verdict
from vlab.qemu import Settings

ON_LAB = [fault for fault in load() if fault.lab is not None]
BORNE = Fault("gpu", "x", "what it is", "", "", [], lab=OnLab(), exit=0)


def test_there_are_enough_and_over_all_suites() -> None:
    assert len(ON_LAB) >= 12
    assert {fault.suite for fault in ON_LAB} == {*clauses.load().suites}


@pytest.mark.parametrize("fault", ON_LAB, ids=lambda fault: fault.name)
def test_each_has_scripts_that_a_shell_reads_and_settings_that_there_are(fault: Fault) -> None:
    form = fault.lab
    assert form is not None
    for script in (form.set, form.back):
        done = subprocess.run(["sh", "-n"], input=script, capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (0, "")
    assert form.set or on_lab.here(fault).profile
    assert {*form.suites} <= {*clauses.load().suites}
    assert fault.suite in (form.suites or [fault.suite])
    lab: Any = type("Lab", (), {"name": "mine", "settings": Settings()})
    named = replace(on_lab.here(fault), name="x")
    environ = {k: v for k, v in on_lab._environment(lab, named).items() if k.startswith("ACCEPT_")}
    budgets = {name: declared.budget for name, declared in DECLARED.items()}
    read = profile_of("vlab", Profile, environ, ROOT / "profiles", budgets)
    assert (read.vlab.name, read.vlab.fresh) == ("mine", False)


def test_of_a_good_run_nothing_is_found_fault_with() -> None:
    chosen = clauses.load().suites
    ran, good, profile = on_lab.read(PASSED, 0, chosen)
    assert verdict(BORNE, ran, good, chosen) == []
    assert {one["status"] for one in good.tests.values()} == {"passed", "not assessed"}
    assert profile["network_name"] == "vllmnet"
    assert on_lab.here(BORNE) == BORNE


def without_the_gpu(folder: Path, *blocked: str) -> Path:
    """The good run as it had been, had the stage gpu failed and blocked these suites."""
    events = [json.loads(line) for line in (PASSED / "record.jsonl").read_text().splitlines()]
    tests = [e for e in events if e["kind"] == "test" and suite_of(e["nodeid"]) in blocked]
    for event in tests:
        event.update(outcome="skipped", status="blocked", message="stage gpu failed")
    said = "Stage 'gpu' failed: no GPU [clause gpu.present]"
    tests[0].update(outcome="error", status="error", message=said)
    events[-1]["undo_failed"] = ["[gpu] bind: failed"]
    (folder / "record.jsonl").write_text("\n".join(map(json.dumps, events)))
    return folder


def test_what_failed_what_was_not_assessed_and_what_is_left_is_in_the_record(
    tmp_path: Path,
) -> None:
    fault = replace(BORNE, exit=1, clause="gpu.present", says=["no GPU"])
    chosen = ["gpu", "network"]
    ran, good, _ = on_lab.read(without_the_gpu(tmp_path, "gpu"), 1, chosen)
    assert verdict(fault, ran, good, chosen) == ["left on the host: [gpu] bind: failed"]
    ran, good, _ = on_lab.read(without_the_gpu(tmp_path, "gpu", "network"), 1, chosen)
    why = verdict(fault, ran, good, chosen)
    assert any("test_network" in line and "is blocked: stage gpu failed" in line for line in why)


@pytest.fixture
def tried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Found]:
    """A fault on a lab whose shell is ours, with a kept record in the place of its run."""
    runs = tmp_path / "runs"
    runs.mkdir()
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("ACCEPT_VLAB__GPUS", "3")
    monkeypatch.setattr(on_lab, "RUNS", runs)
    monkeypatch.setattr(on_lab, "LOOK", "echo 0000:01:00.0 6")
    monkeypatch.setattr(face, "pace_of", lambda lab: 1.0)

    def run(fault: Fault, status: int = 0, kept: Path = PASSED) -> Found:
        argv = [sys.executable, "-m", "tests.sample.lab_run", str(runs), str(kept), str(status)]
        monkeypatch.setattr(on_lab, "_command", lambda chosen: [*argv, str(tmp_path / "noted")])
        lab: Any = type("Lab", (), {"name": "mine", "ssh": ["sh", "-c"], "settings": Settings()})
        return on_lab.tried(fault, lab, lambda text: None)

    return run


def form(**more: Any) -> Fault:
    return replace(BORNE, lab=OnLab(set="touch ~/set", back="rm ~/set", **more))


def test_it_is_set_off_before_the_run_and_taken_back_after_it(
    tried: Callable[..., Found], tmp_path: Path
) -> None:
    found = tried(form(profile={"gpu": {"bdf": ["$gpu"], "count": 2}}))
    assert (found.why, found.spoiled) == ([], False)
    assert (tmp_path / "noted").read_text().splitlines() == [
        "set: True",
        'ACCEPT_GPU__BDF=["0000:01:00.0"]',
        "ACCEPT_GPU__COUNT=2",
        "ACCEPT_VLAB__CPUS=2",
        "ACCEPT_VLAB__FRESH=false",
        "ACCEPT_VLAB__GPUS=1",
        "ACCEPT_VLAB__MEMORY=5120",
        "ACCEPT_VLAB__MULTIFUNCTION=false",
        "ACCEPT_VLAB__NAME=mine",
    ]
    assert not (tmp_path / "set").exists()
    assert re.fullmatch(r"caught: x \(-\), \d+ s", str(found))


def test_one_that_strikes_waits_for_the_runs_word(tried: Callable[..., Found]) -> None:
    assert tried(form(when="[gpu] binding")).why == []


@pytest.mark.parametrize(
    ("fault", "status", "why"),
    [
        (form(when="[gpu] nothing of the kind"), 0, "said nothing with '[gpu] nothing"),
        (form(), 1, "exit status 1, expected 0"),
        (replace(form(), exit=1, clause="gpu.bind"), 1, "clause gpu.bind does not fail"),
        (replace(BORNE, lab=OnLab(back="echo no; exit 3")), 0, "ended with 3; it said:\nno"),
    ],
)
def test_what_is_not_caught_is_told(
    tried: Callable[..., Found], fault: Fault, status: int, why: str
) -> None:
    found = tried(fault, status)
    assert any(why in line for line in found.why), found.why
    assert str(found).startswith("not caught: x (")


def test_what_cannot_be_set_off_is_taken_back_and_ends_nothing_else(
    tried: Callable[..., Found], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    bad = replace(BORNE, lab=OnLab(set="touch ~/set; exit 4", back="rm ~/set"))
    with pytest.raises(VlabError, match="ended with 4"):
        tried(bad)
    assert not (tmp_path / "set").exists()


def test_a_lab_of_its_own_that_is_spoiled_is_followed_by_another(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    labs: list[str] = []

    def up(settings: Any, *, name: str, say: Any) -> Any:
        labs.append(f"up {name}")
        return name

    def found(fault: Fault, lab: Any, say: Any) -> Found:
        if fault.name == "dies":
            raise VlabError("it is gone")
        return Found(fault, (), 1.0)

    monkeypatch.setattr(face, "up", up)
    monkeypatch.setattr(face, "down", lambda lab, force: labs.append(f"down {lab}"))
    monkeypatch.setattr(on_lab, "tried", found)
    wanted = [replace(BORNE, name=name) for name in ("a", "dies", "b")]
    whys = [one.why for one in on_lab.each(wanted, "", lambda text: None)]
    assert whys == [(), ["it is gone"], ()]
    assert [line.split()[0] for line in labs] == ["up", "down", "up", "down"]


def test_a_sample_goes_round_all_that_were_seen_to_be_caught() -> None:
    seen = {f.name for turn in range(len(ON_LAB)) for f in on_lab.sample(ON_LAB, 2, turn)}
    assert seen == {f.name for f in ON_LAB if f.lab and f.lab.sampled}
    assert len(seen) >= 5


def test_the_list_and_the_help_tell_of_all(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["faults", "list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(load())
    both = next(line for line in lines if line.startswith("docker-stopped "))
    assert both.split()[1:5] == ["platform.docker", "replay", "+", "lab"]
    for words in (["faults"], ["faults", "run"], ["faults", "matrix"]):
        with pytest.raises(SystemExit) as end:
            cli.main([*words, "--help"])
        assert end.value.code == 0
    assert "python -m vlab faults" in capsys.readouterr().out


def test_a_name_that_there_is_not_is_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["faults", "run", "no-such"]) == 1
    assert "no fault with a lab form: no-such" in capsys.readouterr().err


def test_the_matrix_takes_the_place_of_the_one_before(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "faults.md"
    page.write_text("# Faults\n\nabove\n", "utf-8")
    whys: list[Sequence[str]] = [[], ["a | b", "c"]]

    def each(wanted: Sequence[Fault], name: str, say: Any) -> list[Found]:
        pair = zip(wanted, whys, strict=False)
        return [Found(fault, why, 61.4) for fault, why in pair]

    monkeypatch.setattr(command, "PAGE", page)
    monkeypatch.setattr(on_lab, "each", each)
    assert cli.main(["faults", "matrix"]) == 1
    whys[1] = []
    assert cli.main(["faults", "matrix", "--lab", "mine"]) == 0
    text = page.read_text("utf-8")
    assert text.startswith(f"# Faults\n\nabove\n\n{command.HEADING}\n")
    assert "**2 of 2 are caught.**" in text
    assert text.count(command.HEADING) == 1
    assert text.endswith("| caught | 61 |\n")
    assert "2 of 2 are caught" in capsys.readouterr().out
