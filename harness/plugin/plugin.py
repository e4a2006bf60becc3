"""The pytest plugin: fixtures, one error for each broken stage, undo at the end.

The fixtures are `profile`, `lab_host`, `run`, which stages use, and `host`, which tests use.

The root conftest loads it by `pytest_plugins` and calls `configure` from its pytest_configure.
It has no asserts to rewrite, and a conftest imports it first: PYTEST_DONT_REWRITE.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pytest
import testinfra.host

from harness.errors import LabError, sentence
from harness.host.host import Host
from harness.host.infra import suite_host
from harness.plugin import budget, collection, hooks, load, options, plan, recovery
from harness.plugin.ending import Ending
from harness.plugin.output import Output
from harness.plugin.session import Connect, Facts, Leftovers, P, Session
from harness.profile.schema import BaseProfile, show
from harness.record.trace import NOT_ASSESSED
from harness.run.stage import Run, StageFailed
from harness.undo.lock import STATE_DIR

MARK = "acceptance"
_SESSION = pytest.StashKey[Session]()
_ENDING = pytest.StashKey[Ending]()
_BROKEN = pytest.StashKey[dict[str, str]]()  # fixture -> the one line that says why
_EARLY = pytest.StashKey[dict[pytest.FixtureDef[Any], list[pytest.FixtureDef[Any]]]]()
_SIGTERM = pytest.StashKey[Any]()
_COLLECTED = pytest.StashKey[dict[str, object]]()
_BLOCKED = pytest.StashKey[bool]()  # this item was skipped by us, for a broken stage


def pytest_addhooks(pluginmanager: pytest.PytestPluginManager) -> None:
    """Declare the hooks of ours."""
    pluginmanager.add_hookspecs(hooks)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare the options."""
    options.add(parser)


def configure(
    config: pytest.Config,
    schema: type[P],
    connect: Connect[P],
    *,
    state_dir: str = STATE_DIR,
    leftovers: Leftovers[P] | None = None,
    facts: Facts = dict,
) -> None:
    """Join the harness with a profile's schema and with the way to reach its host.

    `leftovers` gives the hosts that `--recover` looks at, where that is not just this one; `facts`
    are called for when a run begins, and go into its record.
    """
    session = Session(config, schema, connect, state_dir, leftovers, facts)
    config.stash[_SESSION] = session
    config.pluginmanager.register(Output(session))
    config.pluginmanager.register(budget.Budget(session, MARK))
    config.pluginmanager.register(ending := Ending(session))
    config.stash[_ENDING] = ending
    config.add_cleanup(session.screen.close)
    config.stash[_BROKEN] = {}
    # Without this, SIGTERM (a cancelled CI job) ends pytest with no teardown at all (#5243).
    config.stash[_SIGTERM] = signal.signal(signal.SIGTERM, signal.default_int_handler)
    if options.may_run_acceptance(config) or config.option.profile is not None:
        _ = session.profile
    if options.will_run_acceptance(config):
        session.consent()


def pytest_unconfigure(config: pytest.Config) -> None:
    """The last resort, where an interruption struck in pytest's own teardown."""
    ending = config.stash.get(_ENDING, None)
    if ending is not None:
        ending.last_resort()
    before = config.stash.get(_SIGTERM, None)
    if before is not None:
        signal.signal(signal.SIGTERM, before)


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> int | None:
    """`--show-profile` and `--recover` do their work and end."""
    action: Callable[[Session], int]
    if config.option.show_profile:
        action = _show_profile
    elif config.option.recover:
        action = _recover
    else:
        return None
    config._do_configure()
    try:
        return action(config.stash[_SESSION])
    finally:
        config._ensure_unconfigure()


def _show_profile(session: Session) -> int:
    import os

    session.say(show(session.profile, os.environ).rstrip())
    return 0


def _recover(session: Session) -> int:
    return recovery.run(session, _runs(session.config))


def _runs(config: pytest.Config) -> Path:
    return config.rootpath / "reports" / "runs"


def session_of(config: pytest.Config) -> Session | None:
    """What this pytest run keeps; None before `configure`."""
    return config.stash.get(_SESSION, None)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Before -m, -k and the like take any away: a report has to say what did not run."""
    tests = [item.nodeid for item in items if item.get_closest_marker(MARK)]
    only = [arg for arg in config.args if "::" in arg]
    found: dict[str, object] = {"tests": tests, "only": only}
    config.stash[_COLLECTED] = found


def pytest_collection_finish(session: pytest.Session) -> None:
    """What is wrong with fixtures or suites is told before anything is touched."""
    items = [item for item in session.items if item.get_closest_marker(MARK)]
    collection.check(items)
    session.config.stash[_EARLY] = collection.early_fixtures(items)


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> bool | None:
    """Start the record, when acceptance tests are really about to run; or tell the plan."""
    config = session.config
    mine = session_of(config)
    broken = session.testsfailed and not config.option.continue_on_collection_errors
    items = [item for item in session.items if item.get_closest_marker(MARK)]
    if mine is None or config.option.collectonly or broken or not items:
        return None
    if config.option.plan:
        provision = options.Choices.of(config, mine.profile).provision
        mine.say(plan.text(items, mine.profile, provision))
        return True
    mine.begin(_runs(config))
    mine.trace.event("fact", name="collected", value=config.stash[_COLLECTED])
    return None


@pytest.fixture(scope="session")
def profile(pytestconfig: pytest.Config) -> BaseProfile:
    """The lab's profile, frozen."""
    return required(pytestconfig).profile


@pytest.fixture(scope="session")
def lab_host(pytestconfig: pytest.Config) -> Host:
    """The lab host as stages use it, locked for this run; everything done to it is recorded."""
    return required(pytestconfig).open_host()


# As testinfra's own `host`: what testinfra finds out about a host (its service manager, say) is
# remembered by the object, and must not outlive what a later stage may change.
@pytest.fixture(scope="module")
def host(lab_host: Host, profile: BaseProfile) -> testinfra.host.Host:
    """The lab host as tests use it: testinfra's `host`, with our deadlines and in our record."""
    return suite_host(lab_host, budget.command(profile))


@pytest.fixture(scope="session")
def run(pytestconfig: pytest.Config, lab_host: Host) -> Run[BaseProfile]:
    """The acceptance run: stages, journal, record and evidence."""
    current = required(pytestconfig).run
    assert current is not None
    return current


def required(config: pytest.Config) -> Session:
    """What this pytest run keeps; LabError before `configure`."""
    session = session_of(config)
    if session is None:
        raise LabError("The conftest has not called harness.plugin.plugin.configure.")
    return session


@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup(
    fixturedef: pytest.FixtureDef[Any], request: pytest.FixtureRequest
) -> Generator[None, object, object]:
    """Remember which fixture a broken stage stands behind; start what waited for a good one."""
    try:
        value = yield
    except (Exception, pytest.fail.Exception) as error:
        broken = request.config.stash.get(_BROKEN, None)
        if broken is not None and (isinstance(error, StageFailed) or fixturedef.scope == "session"):
            reason = f'fixture "{fixturedef.argname}" failed: {_first_line(error)}'
            brief = error.brief if isinstance(error, StageFailed) else reason
            broken.setdefault(fixturedef.argname, brief)
        raise
    mine = session_of(request.config)
    if mine is not None and mine.run is not None and mine.run.provision != "never":
        waiting = request.config.stash.get(_EARLY, {})
        mine.run.background.start_ready(waiting, budget.limits(mine.profile))
    return value


def _first_line(error: BaseException) -> str:
    text = error.message if isinstance(error, LabError) else str(error)
    lines = text.strip().splitlines()
    return lines[0] if lines else type(error).__name__


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what depends on a broken stage, by name."""
    broken = item.config.stash.get(_BROKEN, None) or {}
    for name in getattr(item, "fixturenames", ()):
        if name in broken:
            session = session_of(item.config)
            reason = broken[name]
            item.stash[_BLOCKED] = True
            pytest.skip(session.trace.mask(reason) if session else reason)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Put the outcome into the record and, after a failure, collect evidence."""
    report = yield
    session = session_of(item.config)
    if session is None or session.run_dir is None or item.get_closest_marker(MARK) is None:
        return report
    error = call.excinfo.value if call.excinfo is not None else None
    full = session.trace.mask(report.longreprtext) if report.failed else ""
    if report.failed and (said := sentence(error)):
        more = load.explained(error, session.host, budget.limits(session.profile))
        report.longrepr = session.trace.mask("\n".join([said, *more]))  # the trace is evidence
    if report.failed:
        session.saw(error)
    if report.failed and session.run is not None:
        folder = session.run.evidence.collect(report.nodeid, {"failure": full})
        report.sections.append(("evidence", str(folder)))
    _record(session, item, report)
    return report


def _record(session: Session, item: pytest.Item, report: pytest.TestReport) -> None:
    if report.when != "call" and report.passed:
        return
    outcome: str = report.outcome
    if report.failed and report.when != "call":
        outcome = "error"
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longreprtext
    expected: str | None = getattr(report, "wasxfail", None)  # pytest's own: why it may fail
    message = str(reason if expected is None else expected).removeprefix("Skipped: ")
    info = getattr(item, "_fixtureinfo", None)
    session.trace.event(
        "test",
        nodeid=report.nodeid,
        phase=report.when,
        outcome=outcome,
        seconds=round(report.duration, 3),
        clauses=[str(a) for mark in item.iter_markers("clause") for a in mark.args],
        message=message or None,
        status=_status(session, item, outcome, message, expected is not None),
        fixtures=[] if info is None else list(info.argnames),
    )


def _status(session: Session, item: pytest.Item, outcome: str, message: str, expected: bool) -> str:
    """The outcome; of skips and of tests marked xfail also which kind.

    Of a host that was refused nothing is said: it was not touched.
    """
    if session.refused and outcome in ("error", "skipped"):
        return NOT_ASSESSED
    if expected:
        return "unexpected pass" if outcome == "passed" else "expected failure"
    if outcome != "skipped":
        return outcome
    if item.stash.get(_BLOCKED, False):
        return "blocked"
    return NOT_ASSESSED if message.startswith(f"{NOT_ASSESSED}: ") else "skipped"
