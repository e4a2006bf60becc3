"""The pytest plugin: fixtures, one error per broken stage, undo at the end.

The fixtures are `profile`, `lab_host`, `run`, which stages use, and `host`, which tests use. The
root conftest names it in `pytest_plugins`, with plugins that answer to `harness.plugin.hooks`.
It has no asserts to rewrite, and may have been imported before: PYTEST_DONT_REWRITE.
"""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Generator, Iterator, Sequence
from typing import Any

import pytest
import testinfra.host

from harness.errors import BadUsage, LabError, Refused, sentence
from harness.host.command import HostUnreachable
from harness.host.host import Host
from harness.host.infra import suite_host
from harness.plugin import budget, fleet, hooks, load, options, plan, recovery
from harness.plugin.asserted import Asserted, asserted
from harness.plugin.ending import Ending
from harness.plugin.output import Output
from harness.plugin.session import Session, opened
from harness.plugin.traceback_lines import give_lines
from harness.profile.schema import BaseProfile
from harness.record.trace import BLOCKED, NOT_ASSESSED
from harness.run.stage import DECLARED, Run, StageFailed
from harness.text import readable

MARK = "acceptance"
ALONE = "A run is of one process: -n is for several labs, each named by --lab."
_SESSION = pytest.StashKey[Session]()
_ENDING = pytest.StashKey[Ending]()
_BROKEN = pytest.StashKey[dict[str, str]]()  # fixture -> the one line that says why
_COLLECTED = pytest.StashKey[dict[str, object]]()
_BLOCKED = pytest.StashKey[bool]()  # this item was skipped by us, for a broken stage
_CLOSED = pytest.StashKey[set[str]]()  # fixtures that are broken for `_host_closed`


def pytest_addhooks(pluginmanager: pytest.PytestPluginManager) -> None:
    """Declare the hooks of ours."""
    pluginmanager.add_hookspecs(hooks)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare the options."""
    add = parser.getgroup("acceptance", "acceptance of a lab host").addoption
    options.which_lab(add)
    options.which_labs(add)
    options.what_to_make(add)
    options.where_from(add)
    options.what_to_keep(add)
    options.what_to_undo(add)
    options.instead_of_running(add)


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> int | None:
    """`--show-profile` and `--recover` do their work and end."""
    fleet.named(config)
    with usage_errors():
        if config.option.show_profile:
            return _opened(config).show_profile()
        return recovery.run(_opened(config)) if config.option.recover else None


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int | None:
    """Of `-n auto`: a worker for each lab; without labs xdist's own choice."""
    return len(config.option.lab) or None


@contextlib.contextmanager
def usage_errors() -> Iterator[None]:
    """Within the block BadUsage becomes pytest's own kind: a line, and exit status 4."""
    try:
        yield
    except BadUsage as error:
        raise pytest.UsageError(readable(str(error))) from None


def _opened(config: pytest.Config) -> Session:
    """A session, which ends with pytest's configuration."""
    stack = contextlib.ExitStack()
    config.add_cleanup(stack.close)
    command = ["pytest", *config.invocation_params.args]
    return stack.enter_context(opened(config.hook, config.rootpath, config.option, command))


def pytest_configure(config: pytest.Config) -> None:
    """Join the harness with pytest; a bad profile is told before anything is collected."""
    session = config.stash[_SESSION] = _opened(config)
    ending = config.stash[_ENDING] = Ending(config, session)
    for plugin in (Output(config, session), budget.Budget(session, MARK), ending):
        config.pluginmanager.register(plugin)
    config.stash[_BROKEN] = {}
    config.stash[_CLOSED] = set()
    if config.option.stop_at_first:
        if config.option.keep == "never":
            raise pytest.UsageError("--stop-at-first keeps the host, and --keep never does not.")
        config.option.maxfail = 1
    with usage_errors():
        if (part := fleet.join(config, session)) is not None:
            config.pluginmanager.register(part)
        elif options.may_run_acceptance(config.option) and vars(config.option).get("tx"):
            raise BadUsage(ALONE)
        if isinstance(part, fleet.Controller):
            return
        if options.may_run_acceptance(config.option) or config.option.profile is not None:
            _ = session.profile
        if options.will_run_acceptance(config.option):
            session.consent()


def pytest_unconfigure(config: pytest.Config) -> None:
    """The last resort, where an interruption struck in pytest's own teardown."""
    if _ENDING in config.stash:
        config.stash[_ENDING].last_resort()


def session_of(config: pytest.Config) -> Session:
    """The session of this pytest run, from `pytest_configure` on."""
    return config.stash[_SESSION]


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Note all tests before -m and -k deselect any: a report has to say what did not run."""
    tests = [item.nodeid for item in items if item.get_closest_marker(MARK)]
    only = [arg for arg in config.args if "::" in arg]
    found: dict[str, object] = {"tests": tests, "only": only}
    config.stash[_COLLECTED] = found
    if tests and not _asked_for(config):
        with usage_errors():
            session_of(config).consent()  # a bad profile is told all the same
        left = [item for item in items if item.get_closest_marker(MARK)]
        items[:] = [item for item in items if item not in left]
        config.hook.pytest_deselected(items=left)
        session_of(config).say(f"\nNothing is started on a lab unasked: pytest -m {MARK}")


def _asked_for(config: pytest.Config) -> bool:
    """Whether the command line says what to run, or only to tell of it; not so of `pytest` alone.

    An editor's "run all tests" would start a lab, or change a host.
    """
    option = config.option
    named = config.args_source is pytest.Config.ArgsSource.ARGS
    return bool(named or option.markexpr or option.plan or option.collectonly or option.setupplan)


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> bool | None:
    """Start the record, when acceptance tests are really about to run; or tell the plan."""
    config = session.config
    mine = session_of(config)
    broken = session.testsfailed and not config.option.continue_on_collection_errors
    items = [item for item in session.items if item.get_closest_marker(MARK)]
    given = fleet.given_to(config)
    if "lab" in given and session.shouldfail:
        return True
    if broken and "lab" in given:  # else xdist would run what there is
        raise session.Interrupted(f"{session.testsfailed} errors during collection")
    if items and given and "lab" not in given:
        session.shouldfail = ALONE
        return True
    if config.option.collectonly or broken or not items:
        return None
    if config.option.plan:
        stages = plan.stages_of(config, items)
        mine.say(plan.text(len(items), stages, mine.profile, mine.choices.provision))
        return True
    if config.option.setupplan:  # no fixture is really made
        return None
    with usage_errors():
        mine.require_assets()
        folder = mine.begin()
    config.pluginmanager.register(Asserted())
    mine.stages = len(plan.asked(items))
    mine.say(plan.heading(mine.profile, folder.name, items, mine.choices))
    mine.trace.event("fact", name="collected", value=config.stash[_COLLECTED])
    _make_early(items)
    return None


def _make_early(items: Sequence[pytest.Item]) -> None:
    """Have the first test that has all that an early fixture takes set that one up, before its own.

    What that takes comes first all the same: pytest sees to it.
    """
    asked = {name for item in items for name in _fixtures(item)}
    for name, declared in DECLARED.items():
        if declared.early and name in asked:
            first = next(item for item in items if declared.early <= {*_fixtures(item)})
            # pytest sets up what is in this list, in turn; the variants of a test share one
            vars(first)["fixturenames"] = [name, *_fixtures(first)]


def _fixtures(item: pytest.Item) -> list[str]:
    """All fixtures that a test needs, by itself or by way of others."""
    return getattr(item, "fixturenames", [])


@pytest.fixture(scope="session")
def profile(pytestconfig: pytest.Config) -> BaseProfile:
    """The lab's profile, frozen."""
    return session_of(pytestconfig).profile


@pytest.fixture(scope="session")
def lab_host(pytestconfig: pytest.Config) -> Host:
    """The lab host as stages use it, locked for this run; everything done to it is recorded."""
    return session_of(pytestconfig).open_host()


# As testinfra's own `host`: what testinfra finds out about a host (its service manager, say) is
# remembered by the object, and must not outlive what a later stage may change.
@pytest.fixture(scope="module")
def host(lab_host: Host, profile: BaseProfile) -> testinfra.host.Host:
    """The lab host as tests use it: testinfra's `host`, with our deadlines and in our record."""
    return suite_host(lab_host, budget.command(profile))


@pytest.fixture(scope="session")
def run(pytestconfig: pytest.Config, lab_host: Host) -> Run[BaseProfile]:
    """The acceptance run: stages, journal, record and evidence."""
    current = session_of(pytestconfig).run
    assert current is not None
    return current


@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup(
    fixturedef: pytest.FixtureDef[Any], request: pytest.FixtureRequest
) -> Generator[None, object, object]:
    """Remember which fixture a broken stage stands behind.

    What the fixture of a stage raises beside `Run.stage` is a failure of that stage as well.
    """
    try:
        return (yield)
    except StageFailed as error:
        _note_broken(fixturedef, request, error, error.brief)
        raise
    except (Exception, pytest.fail.Exception) as error:
        if fixturedef.argname in DECLARED:
            failure = StageFailed(fixturedef.argname, error)
            _note_broken(fixturedef, request, error, failure.brief)
            raise failure from error
        if fixturedef.scope == "session":
            reason = f'fixture "{fixturedef.argname}" failed: {_first_line(error)}'
            _note_broken(fixturedef, request, error, reason)
        raise


def _note_broken(
    fixturedef: pytest.FixtureDef[Any],
    request: pytest.FixtureRequest,
    error: BaseException,
    reason: str,
) -> None:
    request.config.stash[_BROKEN].setdefault(fixturedef.argname, reason)
    if _host_closed(error):
        request.config.stash[_CLOSED].add(fixturedef.argname)


def _host_closed(error: BaseException | None) -> bool:
    """Whether it is that the host cannot be reached, or has refused us: nothing was looked at."""
    cause = error.cause if isinstance(error, StageFailed) else error
    return isinstance(cause, HostUnreachable | Refused)


def _first_line(error: BaseException) -> str:
    text = error.message if isinstance(error, LabError) else str(error)
    lines = text.strip().splitlines()
    return lines[0] if lines else type(error).__name__


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a test that depends on a failed stage, with the stage's name."""
    broken = item.config.stash[_BROKEN]
    for name in _fixtures(item):
        if name in broken:
            item.stash[_BLOCKED] = name not in item.config.stash[_CLOSED]
            pytest.skip(session_of(item.config).trace.mask(broken[name]))


@pytest.hookimpl(tryfirst=True)
def pytest_keyboard_interrupt(excinfo: pytest.ExceptionInfo[BaseException]) -> None:
    """Before pytest's reporter shows where it was."""
    give_lines(excinfo.value)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Put the outcome into the record and, after a failure, collect evidence."""
    error = call.excinfo.value if call.excinfo is not None else None
    give_lines(error)
    report = yield
    session = session_of(item.config)
    if session.run_dir is None or item.get_closest_marker(MARK) is None:
        return report
    full = session.trace.mask(report.longreprtext) if report.failed else ""
    if report.failed and (said := sentence(error)):
        more = load.limit_details(error, session.host, budget.limits(session.profile))
        report.longrepr = session.trace.mask("\n".join([said, *more]))  # the trace is evidence
    if report.failed and isinstance(error, StageFailed):
        vars(report)["stage"] = error.name  # for the summary: `harness.plugin.ending`
    if report.failed:
        session.outcome.note_first_failure(error)
    if report.failed and session.run is not None:
        folder = session.run.evidence.collect(report.nodeid, {"failure": full})
        report.sections.append(("evidence", str(folder)))
    _record(session, item, report, error)
    return report


def _record(
    session: Session, item: pytest.Item, report: pytest.TestReport, error: BaseException | None
) -> None:
    if report.when != "call" and report.passed:
        return
    outcome: str = report.outcome
    if report.failed and report.when != "call":
        outcome = "error"
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longreprtext
    expected: str | None = getattr(report, "wasxfail", None)  # pytest's own: why it may fail
    message = str(reason if expected is None else expected).removeprefix("Skipped: ")
    status = _status(item, outcome, message, expected is not None, error)
    vars(report)["status"] = status  # for the terminal: `pytest_report_teststatus`
    function = getattr(item, "function", None)  # of pytest's own kind of test
    taken = inspect.signature(function).parameters if function is not None else ()
    session.trace.event(
        "test",
        nodeid=report.nodeid,
        phase=report.when,
        outcome=outcome,
        seconds=round(report.duration, 3),
        clauses=[str(a) for mark in item.iter_markers("clause") for a in mark.args],
        message=message or None,
        status=status,
        fixtures=[name for name in taken if name in _fixtures(item)],
        asserted=asserted(item),
    )


@pytest.hookimpl(tryfirst=True)
def pytest_report_teststatus(report: Any) -> tuple[str, str, tuple[str, dict[str, bool]]] | None:
    """Say of a skip which kind it is, in the harness's own word; the summary folds its reasons."""
    status = vars(report).get("status")
    if not report.skipped or status not in (NOT_ASSESSED, BLOCKED):
        return None
    return status, status[0], (status.upper(), {"yellow": True})


def _status(
    item: pytest.Item, outcome: str, message: str, expected: bool, error: BaseException | None
) -> str:
    """The outcome; of skips and of tests marked xfail also which kind.

    Of a host that refused us, or that was not there, nothing is said: it was not looked at.
    """
    if _host_closed(error):
        return NOT_ASSESSED
    if expected:
        return "unexpected pass" if outcome == "passed" else "expected failure"
    if outcome != "skipped":
        return outcome
    if _BLOCKED in item.stash:
        return BLOCKED if item.stash[_BLOCKED] else NOT_ASSESSED
    return NOT_ASSESSED if message.startswith(f"{NOT_ASSESSED}: ") else "skipped"
