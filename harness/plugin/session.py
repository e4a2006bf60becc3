"""One acceptance session: opens host, lock and journal when first asked, and closes them again.

It knows no pytest: a pytest run has one, and so has `python -m harness`.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import importlib.metadata
import json
import os
import platform
import shlex
import signal
import socket
import sys
import time
import types
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from harness import exits
from harness.errors import BadUsage, LabError, Refused
from harness.host.command import HostUnreachable
from harness.host.host import Host
from harness.outcome import Outcome
from harness.plugin.options import Choices, profile_name, recover_line
from harness.plugin.screen import Screen, can_be_live
from harness.profile.schema import BaseProfile, load, show
from harness.record import evidence
from harness.record.evidence import Evidence
from harness.record.facts import as_json, shown_in
from harness.record.revision import commit
from harness.record.trace import FORMAT, Trace
from harness.run import carried
from harness.run.stage import DECLARED, Run
from harness.undo import lock
from harness.undo.journal import Journal, load_all
from harness.undo.lock import STATE_DIR
from harness.undo.undo import SIGNALS, deferred_signals, recover, undo

RECORDS = "each run has a folder there: is it yours to write, is there room, and is 'last' a link?"
Opened = contextlib.AbstractContextManager[Host]


@dataclass
class Session:
    """One run or one recovery: opens the host on demand, and undoes its changes at the end."""

    hook: Any  # that of a plugin manager; `harness.plugin.hooks` says what is asked
    root: Path  # the project's folder, with profiles/ and reports/runs/
    options: argparse.Namespace  # of pytest's command line, or of `python -m harness`
    command: Sequence[str]  # that command line, for the record
    outcome: Outcome = field(default_factory=Outcome)
    run_dir: Path | None = None
    run: Run[BaseProfile] | None = None
    host: Host | None = None
    trace: Trace = field(default_factory=lambda: Trace(None))
    stages: int = 0  # how many there are to be
    login: str = ""  # how a person gets to the host
    cleanup_hints: list[str] = field(default_factory=list)  # in place of `cleanup_instructions`
    ways_in: list[str] = field(default_factory=list)  # to what stands on a host that is kept
    ended: bool = False
    screen: Screen = field(init=False)
    # Tells whoever controls this run, as one of a fleet (`harness.plugin.fleet`): "run", "status".
    tell: Callable[[str, object], None] = lambda what, value: None
    interrupts: Interrupts = field(default_factory=lambda: Interrupts())
    _profile: BaseProfile | None = None
    _stack: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)

    def __post_init__(self) -> None:
        # Now, while pytest does not capture output.
        captured = vars(self.options).get("capture") != "no"
        self.screen = Screen(
            sys.stdout,
            lambda text: self.trace.mask(text),
            captured=captured,
            live=captured and can_be_live(sys.stdout, os.environ),
        )

    @property
    def profile(self) -> BaseProfile:
        """The profile, read when first asked; BadUsage when it is not as it should be."""
        if self._profile is None:
            self._profile = self.load(profile_name(self.options))
            self.trace = Trace(None, self._profile.secret_values(os.environ))
        return self._profile

    def load(self, name: str) -> BaseProfile:
        """A profile of this project, by its name or path; BadUsage when it is not as it should."""
        schema: type[BaseProfile] = self._required("schema")
        budgets = {name: declared.budget for name, declared in DECLARED.items()}
        return load(name, schema, os.environ, self.root / "profiles", budgets)

    @property
    def choices(self) -> Choices:
        """The effective choices, from the command line and the profile's policy."""
        return Choices.effective(self.options, self.profile)

    @property
    def state_dir(self) -> str:
        """The harness's own folder on the host."""
        return self.hook.pytest_acceptance_state_dir() or STATE_DIR

    def _required(self, what: str, **words: object) -> Any:
        """The answer of a hook that the project has to implement; BadUsage if it does not."""
        name = f"pytest_acceptance_{what}"
        found = getattr(self.hook, name)(**words)
        if found is None:
            text = (
                f"No plugin answers to '{name}', as one that the root conftest names has to:"
                " harness/plugin/hooks.py says how."
            )
            self.outcome.note_harness_error(text)
            raise BadUsage(text)
        return found

    def connect(self, run_dir: Path) -> Opened:
        """The profile's host, open for the length of the block; LabError if it cannot be."""
        found: Opened = self._required(
            "connect", session=self, profile=self.profile, run_dir=run_dir
        )
        return found

    def leftovers(self, run_dir: Path) -> Iterable[Opened]:
        """Every host on which dead or kept runs of the profile may have left something."""
        words = {"session": self, "profile": self.profile, "run_dir": run_dir}
        found: Iterable[Opened] | None = self.hook.pytest_acceptance_leftovers(**words)
        return [self.connect(run_dir)] if found is None else found

    def consent(self, profile: BaseProfile | None = None) -> None:
        """Raise BadUsage where this very machine would be changed without --allow-local."""
        profile = profile or self.profile
        if profile.target.kind == "local" and not self.options.allow_local:
            raise BadUsage(
                f"Profile '{profile.name}' would change this very machine;"
                " say --allow-local if that is meant."
            )

    def require_assets(self) -> None:
        """Raise BadUsage where a run is to be offline, and its folder is not what it needs."""
        if (folder := self.choices.offline) is not None:
            self.say(f"offline: comparing '{folder}' with the profile's digests ...")
            carried.require(self.profile, folder)

    def begin(self, *, record: bool = True) -> Path:
        """Make the run's folder and start its record; BadUsage before it does either.

        Where the folder cannot be written that is BadUsage, too; or, where `record` is False, an
        error of the harness, and the work goes on without a record.
        """
        self.consent()
        self.interrupts.begun = True
        now = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
        runs = self.root / "reports" / "runs"
        self.run_dir = runs / f"{now}-{uuid.uuid4().hex[:6]}"
        secrets = self.profile.secret_values(os.environ)
        try:
            self.trace = _started(self.run_dir, secrets)
        except OSError as error:
            text = f"No record can be kept in '{runs}': {error}."
            if record:
                self.run_dir = None
                raise BadUsage(text, hint=RECORDS) from error
            self.outcome.note_harness_error(text)
            self.trace = Trace(None, secrets)
        self.tell("run", str(self.run_dir))
        profile = self.trace.masker.value(self.profile.model_dump(mode="json"))
        self.trace.event(
            "run",
            state="started",
            format=FORMAT,
            id=self.run_dir.name,
            command=shlex.join(self.command),
            profile=profile,
            profile_digest=_digest(profile),
            commit=commit(),
            runner=socket.gethostname(),
            python=platform.python_version(),
            pytest=importlib.metadata.version("pytest"),
        )
        taken = carried.outside(self.profile, self.choices.offline)
        if record and (taken.files or taken.folder):
            value, shown = as_json(taken, "assets"), shown_in(taken, "assets")
            self.trace.event("fact", name="assets", value=value, shown=shown)
        for facts in self.hook.pytest_acceptance_facts():
            for name, value in facts.items():
                self.trace.event("fact", name=name, value=value)
        return self.run_dir

    def open_host(self) -> Host:
        """Connect, take the lock and begin the journal; LabError says what stands in the way."""
        if self.host is not None:
            return self.host
        if self.run_dir is None:
            raise LabError("The lab host is there for tests marked 'acceptance' alone.")
        try:
            return self._open(self.run_dir)
        except Refused:
            self.outcome.refused = True
            raise

    def _open(self, run_dir: Path) -> Host:
        run_id = run_dir.name
        with contextlib.ExitStack() as stack:
            host = stack.enter_context(self.connect(run_dir))
            host.trace = self.trace
            stack.enter_context(lock.locked(host, run_id, self.state_dir))
            earlier = load_all(host, self.state_dir)
            self.refuse_leftovers(host, earlier)
            journal = Journal.create(host, run_id, self.state_dir)
            self._stack = stack.pop_all()
        self.host, self.login = host, host.login
        self.trace.event("fact", name="pace", value=host.pace)
        if host.pace > 1:
            self.say(f"host '{host.name}' is {host.pace:g} times slower than usual; limits follow")
        self.run = Run(
            id=run_id,
            dir=run_dir,
            profile=self.profile,
            host=host,
            journal=journal,
            trace=self.trace,
            evidence=Evidence(
                run_dir / "evidence", self.trace, deadline=host.paced(evidence.DEADLINE)
            ),
            provision=self.choices.provision,
            earlier=[entry for journal in earlier for entry in journal.pending()],
            out=self.say,
        )
        self.run.stages = self.stages
        self.run.offline = self.choices.offline
        self.hook.pytest_acceptance_opened(run=self.run)
        return host

    def refuse_leftovers(self, host: Host, earlier: list[Journal]) -> None:
        """Raise Refused where a run that left one of these journals has changes to undo."""
        left = [journal for journal in earlier if journal.pending(durable=False)]
        if left:
            ids = ", ".join(f"'{journal.run_id}'" for journal in left)
            first = left[0].pending(durable=False)[0]
            raise Refused(
                f"Host '{host.name}' still has what run {ids} changed, such as:"
                f" [{first.stage}] {first.what}.",
                hint=recover_line(self.options, os.environ),
            )

    def say(self, text: str) -> None:
        """A line for the terminal, at once and masked, from any thread."""
        self.screen.say(text)

    def close(self) -> None:
        """Undo, unless the host is to be kept, and close the host; can be called again."""
        if self.run is None:
            return
        outcome, choices = self.outcome, self.choices
        with deferred_signals(self.say), self.screen.task("undo"):
            run, self.run, self.host = self.run, None, None
            wanted = choices.keep == "always" or (choices.keep == "on-failure" and outcome.failed)
            outcome.kept = wanted and not outcome.interrupted
            try:
                self._put_back(run, choices.restore)
            except Exception as error:
                outcome.unreachable = outcome.unreachable or isinstance(error, HostUnreachable)
                outcome.undo_error += f"The undo could not be finished: {_text_of(error)}"
            try:
                self._stack.close()
            except Exception as error:
                outcome.undo_error += f"The host could not be closed: {_text_of(error)}"

    def _put_back(self, run: Run[BaseProfile], restore: bool) -> None:
        run.close()
        if self.outcome.kept:
            for lines in self.hook.pytest_acceptance_kept(run=run):
                self.ways_in += lines
        else:
            undo(run.journal, restore, self.outcome.undo.append)
            if restore:
                recover(run.host, self.state_dir, durable=True, tell=self.outcome.undo.append)
            else:
                self.outcome.durable = len(run.kept())
            for lines in self.hook.pytest_acceptance_put_back(run=run, restored=restore):
                self.outcome.traces += lines

    @property
    def exit_status(self) -> int:
        """The exit status so far; an error in writing the record counts, too."""
        self.outcome.note_harness_error(self.trace.trouble)
        return self.outcome.exit_status

    def cleanup_instructions(self) -> list[str]:
        """The lines for a host that is not as it was: the ways in, and how to clean up."""
        enter, *clean = self.cleanup_hints or [
            f"to get in: {self.login}",
            f"to clean up: {recover_line(self.options, os.environ)}",
        ]
        return [enter, *self.ways_in, *clean]

    def end(self, exit_status: int | None = None) -> None:
        """Finish the record, and mask what others wrote for this run: junit, a lab's console.

        By default with the exit status that the outcome comes to.
        """
        assert self.run_dir is not None
        outcome = self.outcome
        ours = self.run_dir / "record.jsonl"
        junit = vars(self.options).get("xmlpath")
        try:
            others = [path for path in self.run_dir.rglob("*") if path != ours]
            self.trace.masker.files([*others, *([Path(junit)] if junit else [])])
            if self.trace.path is not None:
                evidence.list_rest(self.run_dir, self.trace)
        except OSError as error:
            outcome.note_harness_error(f"What others wrote could not be masked: {error}")
        found = self.exit_status
        self.trace.event(
            "run",
            state="ended",
            exit_status=found if exit_status is None else exit_status,
            undone=len(outcome.undo) - len(outcome.left),
            undo_failed=[*map(str, outcome.left), *outcome.traces],
            kept=outcome.kept,
            error=outcome.undo_error or None,
            trouble=outcome.harness_errors,
        )
        self.trace.close()
        self.ended = self.interrupts.over = True

    def show_profile(self) -> int:
        """Print the effective profile, secrets masked; the exit status. BadUsage if it is bad."""
        self.say(show(self.profile, os.environ).rstrip())
        return exits.PASSED


class Interrupts:
    """SIGINT, SIGTERM and SIGHUP raise KeyboardInterrupt, so that all is undone; the next waits.

    Without that a cancelled CI job would end everything with no undo at all (pytest #5243), and so
    would a terminal that is closed. While the first is being answered (`PAUSE`) another does
    nothing, as pytest has no end for it but a traceback; unless `again` says that it may, or no run
    has `begun`. When the run is `over` there is nothing left to be ended.
    """

    PAUSE = 5.0  # seconds; fixtures' own teardown, where a second may strike, has begun by then

    def __init__(self) -> None:
        self.begun = self.again = self.over = False
        self._last: float | None = None

    def __call__(self, signum: int, frame: types.FrameType | None) -> None:
        """Answer a signal."""
        now = time.monotonic()
        if self.over:
            return
        first = self._last is None or now - self._last > self.PAUSE
        if first or self.again or not self.begun:
            self._last, self.again = now, False
            raise KeyboardInterrupt


@contextlib.contextmanager
def opened(
    hook: Any, root: Path, options: argparse.Namespace, command: Sequence[str]
) -> Iterator[Session]:
    """A session; within the block signals are answered by its `interrupts`.

    What is ignored (``nohup``) stays so.
    """
    session = Session(hook, root, options, command)
    heard = [signum for signum in SIGNALS if signal.getsignal(signum) is not signal.SIG_IGN]
    before = {signum: signal.signal(signum, session.interrupts) for signum in heard}
    try:
        yield session
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)
        session.screen.close()


def _text_of(error: Exception) -> str:
    return str(error) if isinstance(error, LabError) else f"{type(error).__name__}: {error}"


def _started(run_dir: Path, secrets: Iterable[str]) -> Trace:
    """The record in a folder of its own, to which the link `last` leads; OSError leaves neither."""
    fresh = run_dir.with_name(f".last-{run_dir.name}")
    run_dir.parent.mkdir(parents=True, exist_ok=True)
    run_dir.mkdir(mode=0o700)  # for whoever may see what root sees on the host
    try:
        fresh.symlink_to(run_dir.name)
        fresh.replace(run_dir.with_name("last"))
        return Trace(run_dir / "record.jsonl", secrets)
    except OSError:
        fresh.unlink(missing_ok=True)
        run_dir.rmdir()
        raise


def _digest(profile: object) -> str:
    """The sha256 of the effective profile, secrets masked."""
    return hashlib.sha256(json.dumps(profile, sort_keys=True).encode()).hexdigest()
