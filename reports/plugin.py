"""The reports' part in a pytest run: documents and history when it ends, and what earlier runs say.

Libraries for documents are imported when one is made: collecting tests needs none of them.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

import pytest

from harness.plugin.fleet import given_to
from harness.plugin.plugin import session_of
from reports.texts.texts import LANGUAGES

BASELINES = ("last-good",)
_SUMMARY = pytest.StashKey[list[str]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare the options."""
    group = parser.getgroup("acceptance")
    group.addoption(
        "--report-lang",
        choices=LANGUAGES,
        default=LANGUAGES[0],
        help="the language of report.html and summary.md (default: en); 'python -m reports render'"
        " has the others",
    )
    group.addoption(
        "--baseline",
        choices=BASELINES,
        help="fail a run that passed when a time or a rate is worse than in the good runs before",
    )
    group.addoption(
        "--fail-on",
        choices=("all", "new"),
        default="all",
        help="which failures end a run with 1: all of them, or new alone: what had not failed when"
        " this lab was last looked at",
    )


def pytest_acceptance_commands(add: Callable[..., argparse.ArgumentParser]) -> None:
    """Add `python -m harness collect`."""
    from reports import collect

    collect.declare(add("collect", help=collect.HELP, description=collect.HELP))


def pytest_runtestloop(session: pytest.Session) -> None:
    """Under the heading, what is known of this lab: how long these tests take, and its figures."""
    config = session.config
    path = config.rootpath / "reports" / "runs" / "history.sqlite"
    mine = session_of(config)
    if mine.run_dir is None or not path.is_file():
        return
    from reports.history import history

    try:
        with history.opened(path, readonly=True) as known:
            lab = known.lab_of(mine.profile.name)
            seconds = known.took(lab, {item.nodeid for item in session.items})
            figures = known.measures(lab)
    except history.HistoryError:  # its own time to be told is at the end
        return
    if seconds:
        usual = median(seconds)
        took = f"{usual / 60:.0f} min" if usual >= 90 else f"{usual:.0f} s"
        mine.say(f"usually it takes {took}, undo included (good runs before: {len(seconds)})")
    for waiver in mine.profile.waiver:
        if figures and waiver.what not in figures:
            names = f"the waiver of {waiver.owner} for '{waiver.what}' names no figure of this lab"
            mine.say(f"{names}: summary.json has their names")


def pytest_acceptance_ending(config: pytest.Config, folder: Path) -> None:
    """Hold the run against those before it, and put into its record what came of it."""
    from reports.history import gate, history, news
    from reports.record import reading

    option, mine, run = config.option, session_of(config), reading.load(folder)
    try:
        with history.opened(folder.parents[1] / history.FILE) as known:
            found = news.find(run, known)
            judged = option.baseline and gate.judge(run, known, datetime.now(UTC).date())
    except history.HistoryError:
        if option.baseline or option.fail_on == "new":
            raise
        return  # it is told when the run is put into it
    tests: Any = config.pluginmanager.get_plugin("session")  # pytest's own
    whole = not tests.shouldfail  # as -x has it
    known_alone = whole and news.tolerable(run, found, tests.testsfailed)
    mine.outcome.tolerated = option.fail_on == "new" and known_alone
    mine.trace.event("fact", name=news.FACT, value=found | {"tolerated": mine.outcome.tolerated})
    if judged:
        mine.trace.event("fact", name=gate.FACT, value=judged)
        mine.outcome.regression = bool(judged["regression"])


def pytest_acceptance_ended(config: pytest.Config, folder: Path) -> None:
    """Make the run's documents, and put it into the history, with what was killed before it."""
    from reports import documents
    from reports.formats import summary
    from reports.history import history
    from reports.record import integrity, reading

    run = reading.load(folder)
    written = documents.write(run, integrity.check(run), folder, config.option.report_lang)
    for name, error in written.failed.items():
        text = f"REPORTS: {name} could not be made: {type(error).__name__}: {error}"
        session_of(config).outcome.note_harness_error(text)
    alone = "lab" not in given_to(config)
    lines = config.stash[_SUMMARY] = list(summary.lines(run) if alone else _of_one_host(run))
    lines.append(f"report: {_way(config, written.report)}")
    with history.opened(folder.parents[1] / history.FILE) as known:
        known.add(run)
        if alone:  # else others of the fleet are under way
            lines += history.feed(known, folder.parent)


def _of_one_host(run: Any) -> list[str]:
    from reports.fleet import hosts, page

    return [page.said(hosts.read(run))]


def _way(config: pytest.Config, page: Path) -> Path:
    here = config.invocation_params.dir
    return page.relative_to(here) if here in page.parents else page


def pytest_acceptance_fleet_ended(config: pytest.Config, folders: Sequence[Path]) -> None:
    """Make the page of all hosts, of their records."""
    from reports.fleet import hosts, page

    found, out = hosts.read_all(folders), config.rootpath / "reports" / "runs" / page.NAME
    config.stash[_SUMMARY] = [*page.lines(found)]
    if found:
        page.write(found, out, config.option.report_lang)
        config.stash[_SUMMARY].append(f"page: {_way(config, out)}")


@pytest.hookimpl(trylast=True)
def pytest_unconfigure(config: pytest.Config) -> None:
    """The verdicts, the first failure with its cause, and where the report is: last of all.

    pytest writes no summary after an internal error, and its own comes after every plugin's.
    """
    lines = config.stash.get(_SUMMARY, [])
    config.stash[_SUMMARY] = []
    if "lab" in given_to(config):
        for line in lines:
            session_of(config).say(line)
        return
    out: pytest.TerminalReporter | None = config.pluginmanager.get_plugin("terminalreporter")
    if out is None or not lines:
        return
    out.section("verdict")
    for line in lines:
        out.write_line(line)
