"""The reports' part in a pytest run: documents and history when it ends, the regression gate.

Libraries for documents are imported when one is made: collecting tests needs none of them.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from harness.plugin import required

BASELINES = ("last-good",)
_SUMMARY = pytest.StashKey[list[str]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare the option."""
    parser.getgroup("acceptance").addoption(
        "--baseline",
        choices=BASELINES,
        help="fail a run that passed when a time or a rate is worse than in the good runs before",
    )


def pytest_acceptance_ending(config: pytest.Config, folder: Path) -> bool | None:
    """Hold the run against those before it, and put into its record what came of it."""
    if config.option.baseline is None:
        return None
    from reports import gate, history, reading

    with history.opened(folder.parents[1] / history.FILE) as known:
        found = gate.judge(reading.load(folder), known, datetime.now(UTC).date())
    required(config).trace.event("fact", name=gate.FACT, value=found)
    return bool(found["regression"])


def pytest_acceptance_ended(config: pytest.Config, folder: Path) -> None:
    """Make the run's documents, and put it into the history."""
    from reports import documents, history, integrity, reading, summary

    run = reading.load(folder)
    lines = config.stash[_SUMMARY] = list(summary.lines(run))
    report = documents.write(run, integrity.check(run), folder)
    here = config.invocation_params.dir
    lines.append(f"report: {report.relative_to(here) if here in report.parents else report}")
    with history.opened(folder.parents[1] / history.FILE) as known:
        known.add(run)


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """The verdicts, the first failure with its cause, and where the report is."""
    lines = config.stash.get(_SUMMARY, [])
    if lines:
        terminalreporter.section("verdict")
    for line in lines:
        terminalreporter.write_line(line)
