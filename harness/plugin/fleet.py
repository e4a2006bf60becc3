"""A fleet (`--lab`, once a host): for each lab a worker of pytest-xdist, which makes its run.

The workers are those of `--dist each`: each has all tests, on the lab that the controller names to
it. It has its own lock, record and undo, as a run alone has, and none waits for another. The
controller connects to no host: it shows what the workers say, hands signals on to them, and ends
when they all have, however long their undo takes.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import signal
import traceback
import types
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from harness import exits
from harness.errors import BadUsage
from harness.plugin.options import recover_line
from harness.plugin.session import Session
from harness.profile.schema import BaseProfile
from harness.record.trace import Trace
from harness.undo.undo import SIGNALS

# Options that are of one lab, or that say how xdist is to share tests out.
_OF_ONE = ("profile", "recover", "show_profile", "plan", "collectonly", "setupplan", "usepdb")
_OWN_WORKERS = "one worker each is started on this machine; leave --dist and --tx out"


@dataclass(eq=False)
class Lab:
    """A lab of a fleet, as the controller knows it; `name` as `--lab` gives it."""

    name: str
    profile: BaseProfile
    id: str  # of its worker: what xdist says of it bears this name
    node: Any = None  # xdist's, of the worker
    pid: int | None = None
    run: Path | None = None
    collected: bool = False
    status: int | None = None  # with which it ended; None of a worker that has died


def named(config: pytest.Config) -> list[str]:
    """The labs of a fleet, as its controller was given them; else none. UsageError."""
    names: list[str] = config.option.lab
    if given_to(config) or not names:
        return []
    for option in _OF_ONE:
        if vars(config.option).get(option):
            word = {"collectonly": "collect-only", "setupplan": "setup-plan", "usepdb": "pdb"}
            said = word.get(option, option.replace("_", "-"))
            raise pytest.UsageError(f"--{said} is of one lab: it goes with no --lab.")
    return names


def given_to(config: pytest.Config) -> dict[str, Any]:
    """What a worker of xdist's was given: its "lab", where it is one of a fleet."""
    given: dict[str, Any] = getattr(config, "workerinput", {})
    return given


def join(config: pytest.Config, session: Session) -> object | None:
    """The plugin that makes this process a fleet's controller, or one of its workers.

    None in a run alone. Raises BadUsage and UsageError before a worker is started.
    """
    if names := named(config):
        return Controller(config, session, _labs(config, session, names))
    given = given_to(config)
    if "lab" not in given:
        return None
    config.option.profile, config.option.xmlpath = given["lab"], None  # the controller writes it
    return Worker(session, given["controller"].send)


def _labs(config: pytest.Config, session: Session, names: Sequence[str]) -> list[Lab]:
    """The labs, with their profiles; BadUsage for all that is wrong with these at once."""
    profiles, problems = [], []
    for name in names:
        try:
            profiles.append(session.load(name))
        except BadUsage as error:
            problems += str(error).splitlines()
    if problems:
        raise BadUsage("\n".join(dict.fromkeys(problems)))
    labs = [
        Lab(name, profile, re.sub(r"[^\w.-]", "_", profile.name))
        for name, profile in zip(names, profiles, strict=True)
    ]
    _are_several(labs)
    for lab in labs:
        session.consent(lab.profile)
    _take_workers(config, labs)
    return labs


def _are_several(labs: Sequence[Lab]) -> None:
    """Raise BadUsage where two are one host, or cannot be told apart."""
    for lab in labs:
        place, others = lab.profile.place, labs[: labs.index(lab)]
        if twin := next((one for one in others if place and one.profile.place == place), None):
            environ = sorted(name for name in os.environ if name.startswith("ACCEPT_TARGET__"))
            raise BadUsage(
                f"Labs '{twin.name}' and '{lab.name}' are one host, {place}: it carries out one run"
                " at a time, and a run may have several of its GPUs (gpu.bdf, gpu.count).",
                hint=f"{', '.join(environ)} of the environment holds for all labs"
                if environ
                else None,
            )
        if twin := next((one for one in others if one.id == lab.id), None):
            raise BadUsage(
                f"Labs '{twin.name}' and '{lab.name}' have one name, '{lab.profile.name}': the"
                " report tells hosts apart by the name in their profile."
            )


def _take_workers(config: pytest.Config, labs: Sequence[Lab]) -> None:
    """Have xdist start a worker for each lab; UsageError where something else was asked for."""
    option, count = config.option, len(labs)
    if "tx" not in vars(option):
        raise pytest.UsageError("--lab needs pytest-xdist, and it is not loaded.")
    if option.numprocesses not in (None, count):
        raise pytest.UsageError(
            f"-n {option.numprocesses}, and --lab {count} times: each lab has a worker of its own,"
            f" so that it is -n {count}, or no -n at all."
        )
    asked = {"load"} if option.numprocesses else set()  # what xdist makes of -n
    if option.dist not in {"no", "each", *asked} or (option.tx and not option.numprocesses):
        raise pytest.UsageError(f"--lab is given {count} times: {_OWN_WORKERS}.")
    option.dist, option.numprocesses = "each", count
    option.tx = [f"popen//id={lab.id}" for lab in labs]
    option.maxworkerrestart = "0"  # what a worker that died has left is for a recovery
    option.maxfail = 0  # of each worker its own: it ends no other


class Worker:
    """A plugin: this process makes the run of one lab, and says to the controller how it goes."""

    def __init__(self, session: Session, send: Callable[[tuple[str, object]], None]) -> None:
        self.session = session
        self.send = send
        self.status: int | None = None  # of a run that has not begun
        self.ended = 0  # tests
        session.tell = self.tell
        session.screen.relay = partial(self.tell, "say")
        # A Ctrl-C is the controller's, who hands it on: once, whoever sends it to whom.
        with contextlib.suppress(PermissionError):  # of one that leads its group already
            os.setsid()
        self.tell("pid", os.getpid())

    def tell(self, what: str, value: object) -> None:
        """Say something to the controller; it may be gone."""
        with contextlib.suppress(OSError):
            self.send((what, value))

    @pytest.hookimpl(wrapper=True)
    def pytest_collection(self, session: pytest.Session) -> Generator[None, object, object]:
        """End a worker whose command line is wrong so that xdist gives its reason."""
        try:
            return (yield)
        except pytest.UsageError as error:
            return self._refuse(session, error, exits.USAGE)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtestloop(self, session: pytest.Session) -> Generator[None, object, object]:
        """Likewise one that cannot begin.

        One that is told to end before its last test, as xdist does when it ends itself, was
        interrupted: to xdist it has done all that it was given.
        """
        try:
            result = yield
            if self.ended < len(session.items) and not (session.shouldfail or session.shouldstop):
                raise KeyboardInterrupt
            return result
        except pytest.UsageError as error:
            return self._refuse(session, error, exits.USAGE)
        except session.Interrupted as error:
            return self._refuse(session, error, exits.INTERRUPTED)

    def _refuse(self, session: pytest.Session, error: BaseException, status: int) -> bool:
        """Run no test (`harness.plugin.plugin` looks); what is raised would end all of xdist."""
        self.status = status
        session.shouldfail = str(error)
        return True

    def pytest_runtest_logfinish(self) -> None:
        """A test has ended."""
        self.ended += 1

    @pytest.hookimpl(trylast=True)
    def pytest_unconfigure(self) -> None:
        """The run is over: with which exit status."""
        if self.session.run_dir is not None:
            self.status = self.session.exit_status
        if self.status is not None:
            self.tell("status", self.status)


class Controller:
    """A plugin: shows what the workers say, and ends after all of them, with the worst status."""

    def __init__(self, config: pytest.Config, session: Session, labs: Sequence[Lab]) -> None:
        self.config = config
        self.session = session
        self.labs = labs
        self.by_id = {lab.id: lab for lab in labs}
        self.interrupted = False
        self.trouble = False  # no document of the fleet
        session.interrupts.begun = True  # a second Ctrl-C does not end the wait for the first
        config.option.profile = labs[0].name  # for whoever asks for one
        _ = session.profile
        secrets = [one for lab in labs for one in lab.profile.secret_values(os.environ)]
        session.trace = Trace(None, secrets)

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:
        """Give a worker its lab, and a way to say how that goes."""
        lab = self.by_id[node.gateway.id]
        lab.node, channel = node, node.gateway.newchannel()
        node.workerinput |= {"lab": lab.name, "controller": channel}
        channel.setcallback(lambda said: self._heard(lab, *said))

    def _heard(self, lab: Lab, what: str, value: Any) -> None:
        """What a worker says; called in a thread of execnet's."""
        if what == "say":
            for line in filter(str.strip, value.splitlines()):
                self.session.say(f"[{lab.id}] {line}")
        else:
            setattr(lab, what, Path(value) if what == "run" else value)
            if what == "pid" and self.interrupted:
                self._end(lab)

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self, node: Any) -> None:
        """A worker is about to begin."""
        self.by_id[node.gateway.id].collected = True

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any, error: object) -> None:
        """A worker has ended; where it has died, what to do."""
        lab = self.by_id[node.gateway.id]
        if not lab.collected:  # xdist lets none begin without it, and would wait for ever
            xdist: Any = self.config.pluginmanager.get_plugin("dsession")
            xdist.triggershutdown()
        if not hasattr(node, "workeroutput"):
            self.session.say(self._died(lab))

    def _died(self, lab: Lab) -> str:
        if lab.run is None:
            return f"[{lab.id}] its worker has died before its run began: nothing was touched."
        options = argparse.Namespace(**vars(self.config.option) | {"profile": lab.name})
        return (
            f"[{lab.id}] its worker has died, and what its run changed may be on the host still;"
            f" to clean up: {recover_line(options, os.environ)}"
        )

    def pytest_keyboard_interrupt(self, excinfo: pytest.ExceptionInfo[BaseException]) -> None:
        """Ctrl-C and the like, but not what xdist raises when a worker has ended before its end."""
        if excinfo.type is KeyboardInterrupt:
            self._interrupt()

    def _interrupt(self) -> None:
        """End the run of every lab, which is then undone."""
        self.interrupted = True
        self.session.say("Interrupted: every lab's run is ended now, and its host put back.")
        for lab in self.labs:
            self._end(lab)

    def _end(self, lab: Lab) -> None:
        if lab.pid is not None and not lab.node.channel.isclosed():
            with contextlib.suppress(ProcessLookupError):
                os.kill(lab.pid, signal.SIGTERM)

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Wait for the workers before xdist ends them: it gives them ten seconds for their undo."""
        with _heard_by(self._interrupt):
            for lab in self.labs:
                if lab.node is not None:
                    lab.node.shutdown()
                    with contextlib.suppress(Exception):  # of the worker, which is seen otherwise
                        lab.node.channel.waitclose()
            self._report()
        session.exitstatus = self._status(int(session.exitstatus))

    def _report(self) -> None:
        hook, folders = self.config.hook, [lab.run for lab in self.labs if lab.run is not None]
        try:
            hook.pytest_acceptance_fleet_ended(config=self.config, folders=folders)
        except Exception as error:
            where = traceback.format_tb(error.__traceback__)[-1].rstrip()
            self.trouble = True
            self.session.say(f"REPORTS: {type(error).__name__}: {error}\n{where}")

    def _status(self, own: int) -> int:
        """The worst of the labs', and of what went wrong in this process; `own`: pytest's."""
        found = [_status_of(lab) for lab in self.labs]
        found += [exits.INTERRUPTED] if self.interrupted else []
        failed = self.trouble or own == exits.HARNESS_ERROR
        return exits.worst([*found, exits.HARNESS_ERROR] if failed else found)

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """How many ended how, and once more which workers have died."""
        terminalreporter.section("fleet")
        for lab in self.labs:
            if lab.node is not None and not hasattr(lab.node, "workeroutput"):
                terminalreporter.write_line(self._died(lab), red=True)
            elif lab.run is None:
                terminalreporter.write_line(f"[{lab.id}] has no record: its run never began")
        count = Counter(_status_of(lab) for lab in self.labs)
        said = ", ".join(f"{count[status]} ended with {status}" for status in sorted(count))
        terminalreporter.write_line(f"hosts: {said}")


def _status_of(lab: Lab) -> int:
    """As the worker has said; else as pytest has in it, or as the worker's death comes to."""
    if lab.status is not None:
        return lab.status
    if hasattr(lab.node, "workeroutput") and lab.run is None:
        return int(lab.node.workeroutput["exitstatus"])
    return exits.HARNESS_ERROR if lab.run is None else exits.RESIDUE


@contextlib.contextmanager
def _heard_by(answer: Callable[[], None]) -> Iterator[None]:
    """Within the block the signals that end a run are answered, and raise nothing."""

    def heard(signum: int, frame: types.FrameType | None) -> None:
        answer()

    known = [signum for signum in SIGNALS if signal.getsignal(signum) is not signal.SIG_IGN]
    before = {signum: signal.signal(signum, heard) for signum in known}
    try:
        yield
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)
