"""Each fault of the catalogue is caught, on the replayed lab, by the real suites."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest

from fixtures.guide import clauses
from tests import faults
from tests.unit.mini import ROOT
from vlab.faults import Fault, load, troubleshooting
from vlab.faults.command import HEADING, PAGE
from vlab.faults.verdict import Ran, suites, verdict

FAULTS = {fault.name: fault for fault in load()}


def test_each_fault_is_caught_and_the_page_says_so() -> None:
    """All of one run, which is a process of its own: in one test, since it takes half a minute."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("ACCEPT_", "PYTEST_"))}
    argv = [sys.executable, "-m", "tests.faults", "--json"]
    done = subprocess.run(argv, cwd=ROOT, env=clean, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-5000:]
    found: Mapping[str, Sequence[str]] = json.loads(done.stdout)
    missed = {name: why for name, why in found.items() if why}
    assert missed.keys() == {name for name, fault in FAULTS.items() if fault.missed}, missed
    written = PAGE.read_text("utf-8").partition(f"\n{HEADING}")[0]
    assert written == faults.page(faults.replayed(), found), "make it anew: python -m tests.faults"


def test_every_suite_has_faults_of_clauses_that_there_are() -> None:
    assert len(FAULTS) == len(load()) >= 60
    known = clauses.load()
    assert {fault.suite for fault in FAULTS.values()} == {*known.suites}
    for fault in FAULTS.values():
        assert {fault.clause, *fault.also} <= {*known.by_id, ""}, fault.name
        assert fault.says or fault.left or not fault.exit, fault.name
        assert fault.replayed or fault.lab, fault.name


@pytest.mark.parametrize("fault", FAULTS.values(), ids=lambda fault: fault.name)
def test_each_has_its_advice_in_both_languages(fault: Fault) -> None:
    """A fault that nobody notices needs none."""
    assert bool(fault.advice) == (len(fault.zh) == 2) == bool(fault.exit), "advice, and zh"
    if fault.exit:
        (title, advice), code = fault.zh, re.compile(r"`[^`]+`")
        assert all(re.search("[一-鿿]", text) for text in fault.zh)
        assert sorted(code.findall(advice)) == sorted(code.findall(fault.advice))
        assert _numbers(title) == _numbers(fault.title)
        assert _numbers(advice) == _numbers(fault.advice)


def _numbers(text: str) -> set[str]:
    return {*re.findall(r"\d+", text)}


@pytest.mark.parametrize("language", troubleshooting.PAGES)
def test_the_pages_of_advice_are_up_to_date(language: str) -> None:
    written = troubleshooting.PAGES[language].read_text("utf-8")
    wanted = troubleshooting.page(load(), language)
    assert written == wanted, "make it anew: python -m vlab faults troubleshooting"
    assert len(re.findall(r"^\| `", written, re.M)) == sum(bool(one.exit) for one in load())


def one(name: str, outcome: str = "passed", message: str = "", clause: str = "gpu.bind") -> Ran:
    """A run of one test."""
    status = "blocked" if outcome == "skipped" else outcome
    event = {"outcome": outcome, "status": status, "message": message, "clauses": [clause]}
    return Ran({f"suites/test_{name}.py::test_x": event}, int(outcome == "failed"), ())


def judged(fault: Fault, ran: Ran, good: Ran) -> list[str]:
    return verdict(fault, ran, good, suites(fault))


NONE = Fault("gpu", "x", "", "", "gpu.bind", ["it is so"])


@pytest.mark.parametrize(
    ("ran", "why"),
    [
        (one("gpu"), "clause gpu.bind does not fail"),
        (one("gpu", "failed", "it is otherwise"), "its message does not say ['it is so']"),
        (one("gpu", "failed", "it is so", "gpu.node"), "fails, too: it is so"),
        (one("gpu", "failed", "it is so [clause gpu.node]"), "fails, too: it is so"),
        (replace(one("gpu", "failed", "it is so"), unclean=["a"]), "left on the host: a"),
        (replace(one("gpu", "failed", "it is so"), exit=3), "exit status 3, expected 1"),
        (replace(one("gpu", "failed", "it is so"), mistakes=["b"]), "b"),
    ],
)
def test_what_is_not_caught_is_told(ran: Ran, why: str) -> None:
    assert any(why in line for line in judged(NONE, ran, one("gpu")))
    assert judged(NONE, one("gpu", "failed", "it is so"), one("gpu")) == []


def test_what_is_blocked_and_does_not_rest_on_it_is_told() -> None:
    good, ran = one("network"), one("network", "skipped", "why")
    assert "suites/test_network.py::test_x is blocked: why" in judged(NONE, ran, good)
    assert any("is not run" in line for line in judged(NONE, one("gpu"), good))


def test_what_is_left_has_to_be_told() -> None:
    fault = replace(NONE, clause="", says=[], left="[gpu] bind", exit=11)
    left = replace(one("gpu"), exit=11, unclean=["[gpu] bind x: failed"])
    assert judged(fault, left, one("gpu")) == []
    told = "it does not say that '[gpu] bind' is left"
    assert told in judged(fault, replace(left, unclean=[]), one("gpu"))
