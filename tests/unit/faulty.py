"""The fault catalogue in its replay form: the real suites run on a replayed host with a fault.

One pytest session collects the suites once, with the harness's own plugin, fixtures, stages and
undo. For each fault it runs the fault's suite anew, and one that rests on nothing of it, on a host
of its own: it answers from the record but for what the fault changes, and is put back. The run's
record is what is judged. Stages of suites that do not run give what they found without a fault.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from fixtures.guide import clauses
from fixtures.platform import host_log
from harness.outcome import Outcome
from harness.plugin import plugin
from harness.plugin.output import Output
from harness.plugin.session import Session
from harness.record.evidence import Evidence
from harness.record.trace import Trace
from tests.unit.fault_host import in_vain, set_off
from tests.unit.stages.lab import STAGES, Lab, at_once
from tests.unit.stages.server import Server, served
from vlab.faults import Fault
from vlab.faults.verdict import FAILED, Ran, suite_of, suites

NO_TORCH = '{"missing": "no PyTorch in the image", "torch": "", "cuda": ""}\n'


@dataclass(eq=False)  # pytest hashes it
class Replayed:
    """A plugin that runs the suites for each fault, and first for none; `ran` has what came of it.

    `good` are the facts of all stages without a fault.
    """

    folder: Path
    wanted: Sequence[Fault]
    ran: dict[str, Ran] = field(default_factory=dict)
    good: dict[str, Any] = field(default_factory=dict)
    lab: Lab | None = None
    suites: Collection[str] = ()  # that run

    @pytest.hookimpl(trylast=True)
    def pytest_collection_finish(self, session: pytest.Session) -> None:
        manager = session.config.pluginmanager
        for each in manager.get_plugins():  # what shows a run on the terminal takes half the time
            if isinstance(each, Output | pytest.TerminalReporter):
                manager.unregister(each)
        # Commands are not judged, and are most of what there is to write down.
        unwritten = mock.patch.object(Trace, "command", _nothing)
        with served() as server, at_once(), unwritten:
            self.good = _found(self.folder / "found", server)
            for fault in [Fault("", "", "", "", "", ()), *self.wanted]:
                self.suites = ran_suites(fault)
                items = [item for item in session.items if suite_of(item.nodeid) in self.suites]
                self.ran[fault.name] = self._run(fault, items, server)
        session.items.clear()  # for the harness there is nothing to run, and no record to begin

    def _run(self, fault: Fault, items: Sequence[pytest.Item], server: Server) -> Ran:
        self.lab = lab = _lab(self.folder / f"run-{fault.name}", server, fault.profile or {})
        set_off(fault, lab.host, server)
        config = items[0].config
        session = plugin.session_of(config)
        ring = mock.patch.dict(os.environ, MINI_ALARM=fault.alarm)
        with _taken(session, lab), mock.patch.object(Evidence, "collect"), ring:
            config.stash[plugin._BROKEN], config.stash[plugin._CLOSED] = {}, set()
            for item, following in zip(items, [*items[1:], None], strict=True):
                item.stash = pytest.Stash()  # what the run before has noted of it
                config.hook.pytest_runtest_protocol(item=item, nextitem=following)
            tests = {event["nodeid"]: event for event in lab.events("test")}
            failed = any(event["outcome"] in FAILED for event in tests.values())
            session.outcome.pytest_status = int(failed)
            if fault.no_room:
                assert lab.trace._file is not None
                os.dup2(os.open("/dev/full", os.O_WRONLY), lab.trace._file)
            unclean = [*_put_back(session, lab)]
            mistakes = [*lab.host.unknown, *map(str, lab.host.unused()), *in_vain(lab.host)]
            return Ran(tests, session.exit_status, unclean, mistakes)

    @pytest.hookimpl(tryfirst=True)
    def pytest_fixture_setup(
        self, fixturedef: pytest.FixtureDef[Any], request: pytest.FixtureRequest
    ) -> object:
        """A stage of another suite is not brought about once more."""
        name = fixturedef.argname
        made = fixturedef.func.__module__.split(".")[1]
        if name not in self.good or self.lab is None or made in self.suites:
            return None
        facts = self.good[name]
        facts = replace(facts, host=self.lab.host) if hasattr(facts, "host") else facts
        fixturedef.cached_result = (facts, getattr(request, "param", None), None)
        return facts


def _nothing(*args: object, **options: object) -> None:
    """Nothing is written."""


def _found(folder: Path, server: Server) -> dict[str, Any]:
    """The facts of all stages, without a fault."""
    lab = _lab(folder, server, {})
    return {name: lab.bring(name) for name in STAGES}


def _lab(folder: Path, server: Server, settings: Mapping[str, Any]) -> Lab:
    """A lab without a fault, with replies that the record lacks."""
    lab = Lab(folder, {}, settings={"model": {"load": []}, **settings})
    server.reset()
    server.lead_to(lab.host)
    lab.host.reply("/fingerprint/", status=1)  # none was taken
    lab.host.reply("test -s", "/image-id", status=1)  # docker has built nothing, where one asks
    for change in lab.host.changes:
        change.used = True
    lab.host.spare("python3 - 20", out=NO_TORCH)
    lab.host.spare("/proc/loadavg", out="0.50\n2\n")
    host_log.pytest_acceptance_opened(lab.run)
    return lab


@contextmanager
def _taken(session: Session, lab: Lab) -> Iterator[None]:
    """Within the block the session's run is the lab's."""
    given: dict[str, Any] = {
        "run_dir": lab.run.dir,
        "run": lab.run,
        "host": lab.host,
        "trace": lab.trace,
    }
    given |= {"_profile": lab.run.profile, "outcome": Outcome()}
    with mock.patch.multiple(session, **given), lab.trace:
        yield


def _put_back(session: Session, lab: Lab) -> Iterator[str]:
    """Have the run undone; what is wrong then."""
    journal = lab.run.journal
    for entry in journal.entries:
        for argv in entry.undo:  # the record is of one run, which need not have made this change
            lab.host.spare(*argv)
    lab.host.spare("rm -", journal.directory)
    begun = len(lab.host.asked)
    session.close()
    asked = {*lab.host.asked[begun:]}
    outcome = session.outcome
    yield from map(str, outcome.left)
    yield from filter(None, [outcome.undo_error, *outcome.traces, lab.trace.trouble])
    undone = {result.entry.id for result in outcome.undo if result.outcome == "undone"}
    for entry in journal.entries:
        if entry.id in undone and not {*entry.undo} <= asked:
            yield f"[{entry.stage}] {entry.what}: its undo was not carried out"
    told = {result.entry.id for result in outcome.left}
    left = [entry for entry in journal.pending(durable=False) if entry.id not in told]
    yield from (f"[{entry.stage}] {entry.what}: not undone" for entry in left)


def ran_suites(fault: Fault) -> Collection[str]:
    """The suites that run for a fault; all where there is none."""
    return suites(fault) if fault.name else clauses.load().suites
