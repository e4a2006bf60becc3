"""One acceptance session: opens host, lock and journal when first asked, and closes them again."""

from __future__ import annotations

import contextlib
import os
import platform
import signal
import socket
import types
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pytest

from harness import journal as journals
from harness import lock
from harness.errors import LabError
from harness.evidence import Evidence
from harness.host import Host
from harness.journal import Journal, UndoResult
from harness.options import Choices, profile_name
from harness.profile import BaseProfile, ProfileError, load
from harness.stage import Run
from harness.state import STATE_DIR
from harness.trace import FORMAT, Trace

Connect = Callable[[BaseProfile, Path], contextlib.AbstractContextManager[Host]]


class Undone(LabError):
    """Something could not be put back."""


@dataclass
class Session:
    """What the plugin keeps between hooks."""

    config: pytest.Config
    schema: type[BaseProfile]
    connect: Connect
    state_dir: str = STATE_DIR
    run_dir: Path | None = None
    run: Run | None = None
    host: Host | None = None
    trace: Trace = field(default_factory=lambda: Trace(None))
    undo: list[UndoResult] = field(default_factory=list)
    kept: bool = False
    closing_error: str = ""
    interrupted: bool = False
    _profile: BaseProfile | None = None
    _stack: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)

    @property
    def profile(self) -> BaseProfile:
        """The profile, read when first asked; pytest.UsageError (exit 4) when it is bad."""
        if self._profile is None:
            root = self.config.rootpath
            try:
                profile = load(
                    profile_name(self.config), self.schema, os.environ, root / "profiles"
                )
            except ProfileError as error:
                raise pytest.UsageError(str(error)) from None
            if profile.target.kind == "local" and not self.config.option.allow_local:
                raise pytest.UsageError(
                    f"Profile '{profile.name}' would change this very machine;"
                    " say --allow-local if that is meant."
                )
            self._profile = profile
        return self._profile

    def begin(self, runs: Path) -> Path:
        """Make the run's folder and start its record."""
        now = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
        run_id = f"{now}-{uuid.uuid4().hex[:6]}"
        self.run_dir = runs / run_id
        self.run_dir.mkdir(parents=True)
        _point_last(runs, run_id)
        self.trace = Trace(self.run_dir / "record.jsonl", self.profile.secret_values(os.environ))
        self.trace.event(
            "run",
            state="started",
            format=FORMAT,
            id=run_id,
            profile=self.profile.model_dump(mode="json"),
            runner=socket.gethostname(),
            python=platform.python_version(),
            pytest=pytest.__version__,
        )
        return self.run_dir

    def open_host(self) -> Host:
        """Connect, take the lock and begin the journal; LabError says what stands in the way."""
        if self.host is not None:
            return self.host
        if self.run_dir is None:
            raise LabError("The lab host is there for tests marked 'acceptance' alone.")
        run_id = self.run_dir.name
        with contextlib.ExitStack() as stack:
            host = stack.enter_context(self.connect(self.profile, self.run_dir))
            host.trace = self.trace
            stack.enter_context(lock.locked(host, run_id, self.state_dir))
            self._refuse_leftovers(host)
            journal = Journal.create(host, run_id, self.state_dir)
            self._stack = stack.pop_all()
        self.host = host
        self.run = Run(
            id=run_id,
            dir=self.run_dir,
            profile=self.profile,
            host=host,
            journal=journal,
            trace=self.trace,
            evidence=Evidence(self.run_dir / "evidence"),
            provision=Choices.of(self.config, self.profile).provision,
            out=self.say,
        )
        return host

    def _refuse_leftovers(self, host: Host) -> None:
        left = journals.unfinished(host, self.state_dir)
        if left:
            ids = ", ".join(f"'{journal.run_id}'" for journal in left)
            first = left[0].pending(durable=False)[0]
            raise LabError(
                f"Host '{host.name}' still has what run {ids} changed, such as:"
                f" [{first.stage}] {first.what}.",
                hint=f"pytest --recover --profile {profile_name(self.config)}",
            )

    def say(self, text: str) -> None:
        """A line for the terminal, at once, though pytest captures output."""
        manager = self.config.pluginmanager
        terminal = manager.get_plugin("terminalreporter")
        capture = manager.get_plugin("capturemanager")
        off = capture.global_and_fixture_disabled() if capture else contextlib.nullcontext()
        with off:
            if terminal is None:
                print(text, flush=True)
            else:
                terminal.ensure_newline()
                terminal.write_line(text)
                terminal.flush()

    def close(self, failed: bool) -> None:
        """Undo, unless it is to be kept, and let go of everything; can be called again."""
        if self.run is None or self.host is None:
            return
        run, self.run, self.host = self.run, None, None
        choices = Choices.of(self.config, self.profile)
        wanted = choices.keep == "always" or (choices.keep == "on-failure" and failed)
        self.kept = wanted and not self.interrupted
        with self._undisturbed():
            try:
                if not self.kept:
                    self.undo = run.journal.undo(choices.restore)
                    if choices.restore:
                        self.undo += journals.recover(run.host, self.state_dir, durable=True)
            except LabError as error:
                self.closing_error = f"The undo could not be finished: {error}"
            finally:
                try:
                    self._stack.close()
                except Exception as error:
                    self.closing_error += f"The host could not be closed: {error}"

    @contextlib.contextmanager
    def _undisturbed(self) -> Iterator[None]:
        """A second Ctrl-C, or SIGTERM, does not leave the undo half done."""

        def patience(signum: int, frame: types.FrameType | None) -> None:
            self.say("[undo] still putting the host back; after kill -9: pytest --recover")

        before = {s: signal.signal(s, patience) for s in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for signum, handler in before.items():
                signal.signal(signum, handler)

    def end(self, exit_status: int) -> None:
        """Finish the record."""
        failed = [str(result) for result in self.undo if not result.ok]
        self.trace.event(
            "run",
            state="ended",
            exit_status=exit_status,
            undone=len(self.undo) - len(failed),
            undo_failed=failed,
            kept=self.kept,
            error=self.closing_error or None,
        )
        self.trace.close()

    def recover(self, runs: Path) -> list[UndoResult]:
        """Finish the undo of dead runs on the host of this profile."""
        directory = self.begin(runs)
        with self.connect(self.profile, directory) as host:
            host.trace = self.trace
            with lock.locked(host, directory.name, self.state_dir, recover=True):
                restore = bool(self.config.option.restore)
                self.undo = journals.recover(host, self.state_dir, durable=restore)
        return self.undo


def _point_last(runs: Path, run_id: str) -> None:
    fresh = runs / f".last-{run_id}"
    fresh.symlink_to(run_id)
    fresh.replace(runs / "last")
