"""A fleet: a worker for each lab, which makes its run by itself; what is wrong is told before."""

from __future__ import annotations

import os
import signal
from argparse import Namespace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from harness import exits
from harness.errors import BadUsage
from harness.plugin import fleet
from harness.plugin.fleet import Lab
from harness.plugin.session import Session
from harness.profile.schema import BaseProfile, Target
from harness.wait import wait_for
from reports.record.reading import load
from reports.record.record import Record
from tests.unit.mini import PLUGINS, REPORTS, Mini
from tests.unit.patience import PATIENCE

TWO = ("-m", "acceptance", "--lab", "a", "--lab", "b")


class Fleet(Mini):
    """The mini-suite with two labs, each a folder of its own; their addresses lead nowhere."""

    def __init__(self, folder: Path, *more: str) -> None:
        super().__init__(folder, plugins=[*PLUGINS, "tests.sample.fleet", *more])
        for lab in "ab":
            text = f'name = "{lab}"\n[target]\nkind = "ssh"\naddress = "ssh://{lab}.example"\n'
            (folder / "profiles" / f"{lab}.toml").write_text(text)

    @property
    def environ(self) -> dict[str, str]:
        return super().environ | {"PYTEST_PLUGINS": "pytest_timeout,xdist.plugin"}

    def made_on(self, lab: str) -> list[str]:
        return sorted(path.name for path in (self.host / lab).glob("made-*"))

    def records(self) -> dict[str, Record]:
        """The record of each lab."""
        runs = (self.folder / "reports" / "runs").glob("2*")
        return {record.profile["name"]: record for record in map(load, runs)}


@pytest.fixture
def labs(tmp_path: Path) -> Fleet:
    return Fleet(tmp_path / "m")


def test_each_lab_has_its_run_and_one_page_has_both(tmp_path: Path) -> None:
    labs = Fleet(tmp_path / "m", REPORTS)
    status, out = labs.pytest(*TWO, "-n", "2", local=False, environ={"MINI_TWO_b": "find_no_card"})
    assert status == exits.FAILED, out
    found = labs.records()
    assert {lab: record.exit_status for lab, record in found.items()} == {"a": 0, "b": 1}
    assert len(found["a"].tests) == len(found["b"].tests) == 5, "each has all of them"
    assert (labs.made_on("a"), labs.made_on("b")) == ([], [])
    assert "[a] [three] ok (provisioned), " in out
    assert "[b] host: put back (2 changes undone)" in out
    assert "hosts: 1 ended with 0, 1 ended with 1" in out
    said = out[out.rindex(" verdict ") :].splitlines()
    assert said[1] == "b                failed        Stage 'two' failed: No card."
    assert said[-2:] == ["2 hosts: 1 passed, 1 failed", "page: reports/runs/fleet.html"]
    page = (labs.folder / "reports" / "runs" / "fleet.html").read_text()
    assert all(f'href="{record.id}/report.html"' in page for record in found.values())


def test_one_worker_is_killed_and_the_other_interrupted(labs: Fleet) -> None:
    """SIGTERM reaches the controller alone: it is that which hands it on."""
    run = labs.start(*TWO, local=False, environ={"MINI_TWO_a": "wait", "MINI_TWO_b": "wait"})
    both = lambda: [labs.made_on(lab) for lab in "ab"] == [["made-one", "made-two"]] * 2  # noqa: E731
    wait_for("both are in their second stage", both, PATIENCE, 0.02)
    os.kill(_workers(run.pid)["b"], signal.SIGKILL)
    run.until("[b] its worker has died")
    run.send_signal(signal.SIGTERM)
    status, out = run.finish()
    assert status == exits.RESIDUE, out
    assert "[a] host: put back (2 changes undone)" in out
    assert "hosts: 1 ended with 2, 1 ended with 11" in out
    assert out.count("to clean up: python -m harness recover --profile b") == 1
    assert (labs.made_on("a"), labs.made_on("b")) == ([], ["made-one", "made-two"])
    found = labs.records()
    assert (found["a"].exit_status, found["b"].exit_status) == (exits.INTERRUPTED, None)
    at_b = {"MINI_STATE": str(labs.host / "b" / "state")}
    assert labs.harness("recover", "--profile", "b", environ=at_b)[0] == exits.PASSED
    assert labs.made_on("b") == []


def _workers(controller: int) -> dict[str, int]:
    """The process of each lab's worker, by what xdist has called it."""
    children = Path(f"/proc/{controller}/task/{controller}/children").read_text().split()
    return {"ab"[number]: int(pid) for number, pid in enumerate(children)}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ["-n", "3"],
            "-n 3, and --lab 2 times: each lab has a worker of its own, so that it is -n 2",
        ),
        (["--profile", "a"], "--profile is of one lab: it goes with no --lab."),
        (["--lab", "a"], "Labs 'a' and 'a' are one host, a.example:22: it carries out one run"),
        (["--lab", "x", "--lab", "y"], "x.toml: profile 'x': expected a file, found nothing"),
    ],
)
def test_what_is_wrong_is_told_before_a_worker_is_started(
    labs: Fleet, words: list[str], said: str
) -> None:
    status, out = labs.pytest(*TWO, *words, local=False)
    assert status == exits.USAGE
    assert said in out
    assert "workers" not in out.replace("worker of", "")
    assert not (labs.folder / "reports").exists()
    assert "y" not in words or "profile 'y': expected a file" in out, "all at once"


def test_workers_without_labs_are_refused(labs: Fleet) -> None:
    status, out = labs.pytest("-m", "acceptance", "-n", "2")
    assert (status, "-n is for several labs, each named by --lab" in out) == (exits.USAGE, True)


def _lab(name: str, address: str = "", title: str = "") -> Lab:
    target = Target(kind="ssh", address=f"ssh://{address or name}")
    return Lab(name, BaseProfile(name=title or name, target=target), title or name)


def test_two_labs_of_one_host_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    labs = [_lab("one", "root@H.example"), _lab("two", "lab@h.example:22")]
    with pytest.raises(BadUsage) as caught:
        fleet._are_several(labs)
    assert str(caught.value) == (
        "Labs 'one' and 'two' are one host, h.example:22: it carries out one run at a time, and a"
        " run may have several of its GPUs (gpu.bdf, gpu.count)."
    )
    monkeypatch.setenv("ACCEPT_TARGET__ADDRESS", "ssh://h")
    with pytest.raises(BadUsage, match="ACCEPT_TARGET__ADDRESS of the environment holds for all"):
        fleet._are_several(labs)
    fleet._are_several([_lab("one", "h:22"), _lab("two", "h:2222")])


def test_two_labs_of_one_name_are_refused() -> None:
    with pytest.raises(BadUsage, match=r"'one.toml' and 'two.toml' have one name, 'lab'"):
        fleet._are_several([_lab("one.toml", "one", "lab"), _lab("two.toml", "two", "lab")])


def _config(**options: Any) -> pytest.Config:
    given = {"numprocesses": None, "dist": "no", "tx": [], "maxfail": 1} | options
    return cast(pytest.Config, SimpleNamespace(option=Namespace(**given)))


@pytest.mark.parametrize("workers", [None, 2])
def test_xdist_has_a_worker_for_each_lab_that_bears_its_name(workers: int | None) -> None:
    asked = {"numprocesses": 2, "dist": "load", "tx": ["popen"] * 2} if workers else {}
    config = _config(**asked)
    fleet._take_workers(config, [_lab("a"), _lab("b")])
    assert vars(config.option) == {
        **{"numprocesses": 2, "dist": "each", "tx": ["popen//id=a", "popen//id=b"]},
        **{"maxworkerrestart": "0", "maxfail": 0},
    }


@pytest.mark.parametrize(
    "options",
    [
        {"dist": "loadgroup", "numprocesses": 2, "tx": ["popen"] * 2},
        {"dist": "each", "tx": ["ssh=h"] * 2},
        {"numprocesses": 0},
    ],
)
def test_another_way_to_share_tests_out_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(pytest.UsageError, match="each"):
        fleet._take_workers(_config(**options), [_lab("a"), _lab("b")])


@pytest.mark.parametrize(
    ("ended", "stop", "interrupted"), [(1, "", True), (1, "-x", False), (2, "", False)]
)
def test_a_worker_that_is_ended_before_its_last_test_was_interrupted(
    monkeypatch: pytest.MonkeyPatch, ended: int, stop: str, interrupted: bool
) -> None:
    """As xdist ends it: then it has done all that it was given, and would end with 0."""
    monkeypatch.setattr(os, "setsid", lambda: None)
    mine = cast(Session, SimpleNamespace(screen=SimpleNamespace()))
    told: list[tuple[str, object]] = []
    worker = fleet.Worker(mine, told.append)
    session = SimpleNamespace(items=[1, 2], shouldfail=stop, shouldstop="")
    session.Interrupted = pytest.Session.Interrupted
    loop = worker.pytest_runtestloop(cast(pytest.Session, session))
    next(loop)
    for _ in range(ended):
        worker.pytest_runtest_logfinish()
    with pytest.raises(KeyboardInterrupt if interrupted else StopIteration):
        loop.send(True)


def test_a_wrong_command_line_ends_a_worker_with_a_sentence(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(os, "setsid", lambda: None)
    worker = fleet.Worker(cast(Session, SimpleNamespace(screen=SimpleNamespace())), lambda _: None)
    session = cast(pytest.Session, SimpleNamespace(shouldfail=""))
    collection = worker.pytest_collection(session)
    next(collection)
    with pytest.raises(StopIteration):
        collection.throw(pytest.UsageError("Wrong expression passed to '-m'"))
    assert (session.shouldfail, worker.status) == ("Wrong expression passed to '-m'", exits.USAGE)


def test_the_worst_of_the_hosts_counts_and_a_regression_more_than_none() -> None:
    assert exits.worst([exits.PASSED, exits.REGRESSION, exits.PASSED]) == exits.REGRESSION
    assert exits.worst([exits.REGRESSION, exits.FAILED]) == exits.FAILED
