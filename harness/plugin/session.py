"""One acceptance session: opens host, lock and journal when first asked, and closes them again."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import platform
import shlex
import socket
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import pytest

from harness import exits
from harness.errors import LabError, Refused
from harness.host.command import HostUnreachable
from harness.host.host import Host
from harness.plugin.options import Choices, profile_name, recover_line
from harness.plugin.screen import Screen, can_be_live
from harness.profile.schema import BaseProfile, ProfileError, load
from harness.record import evidence
from harness.record.evidence import Evidence
from harness.record.trace import FORMAT, Trace
from harness.run.stage import DECLARED, Run, StageFailed
from harness.undo import lock
from harness.undo.journal import Journal, load_all
from harness.undo.lock import STATE_DIR
from harness.undo.undo import UndoResult, recover, undisturbed, undo

P = TypeVar("P", bound=BaseProfile)
Connect = Callable[[P, Path], contextlib.AbstractContextManager[Host]]
# Every host on which dead or kept runs of a profile may have left something.
Leftovers = Callable[[P, Path], Iterable[contextlib.AbstractContextManager[Host]]]
Facts = Callable[[], Mapping[str, object]]


@dataclass
class Session:
    """What the plugin keeps between hooks."""

    config: pytest.Config
    schema: type[BaseProfile]
    connect: Connect[Any]  # takes a profile of that schema, which `plugin.configure` sees to
    state_dir: str = STATE_DIR
    leftovers: Leftovers[Any] | None = None  # as `connect`; None: the profile's own host
    facts: Facts = dict  # what every record of ours begins with
    run_dir: Path | None = None
    run: Run[BaseProfile] | None = None
    host: Host | None = None
    trace: Trace = field(default_factory=lambda: Trace(None))
    undo: list[UndoResult] = field(default_factory=list)
    kept: bool = False
    login: str = ""  # how a person gets to the host
    farewell: list[str] = field(default_factory=list)  # what `connect` has to tell instead of that
    closing_error: str = ""  # why the host may not be as it was before
    trouble: list[str] = field(default_factory=list)  # what went wrong in the harness itself
    interrupted: bool = False
    refused: bool = False  # the host, before anything was touched
    ended: bool = False
    unreachable: bool | None = None  # whether that is the first failure; None: none yet
    screen: Screen = field(init=False)
    _profile: BaseProfile | None = None
    _stack: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)

    def __post_init__(self) -> None:
        # Now, while output is not captured.
        captured = self.config.option.capture != "no"
        self.screen = Screen(
            sys.stdout,
            lambda text: self.trace.mask(text),
            captured=captured,
            live=captured and can_be_live(sys.stdout, os.environ),
        )

    @property
    def profile(self) -> BaseProfile:
        """The profile, read when first asked; pytest.UsageError (exit 4) when it is bad."""
        if self._profile is None:
            root = self.config.rootpath
            try:
                profile = load(
                    profile_name(self.config),
                    self.schema,
                    os.environ,
                    root / "profiles",
                    {name: declared.budget for name, declared in DECLARED.items()},
                )
            except ProfileError as error:
                raise pytest.UsageError(str(error)) from None
            self._profile = profile
            self.trace = Trace(None, profile.secret_values(os.environ))
        return self._profile

    def consent(self) -> None:
        """pytest.UsageError where this very machine would be changed, and nobody has agreed."""
        if self.profile.target.kind == "local" and not self.config.option.allow_local:
            raise pytest.UsageError(
                f"Profile '{self.profile.name}' would change this very machine;"
                " say --allow-local if that is meant."
            )

    def begin(self, runs: Path) -> Path:
        """Make the run's folder and start its record; pytest.UsageError before it does either."""
        self.consent()
        now = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
        run_id = f"{now}-{uuid.uuid4().hex[:6]}"
        self.run_dir = runs / run_id
        self.run_dir.mkdir(parents=True)
        _point_last(runs, run_id)
        self.trace = Trace(self.run_dir / "record.jsonl", self.profile.secret_values(os.environ))
        profile = self.trace.masker.value(self.profile.model_dump(mode="json"))
        self.trace.event(
            "run",
            state="started",
            format=FORMAT,
            id=run_id,
            command=shlex.join(["pytest", *self.config.invocation_params.args]),
            profile=profile,
            profile_digest=_digest(profile),
            commit=commit(),
            runner=socket.gethostname(),
            python=platform.python_version(),
            pytest=pytest.__version__,
        )
        for name, value in self.facts().items():
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
            self.refused = True
            raise

    def _open(self, run_dir: Path) -> Host:
        run_id = run_dir.name
        with contextlib.ExitStack() as stack:
            host = stack.enter_context(self.connect(self.profile, run_dir))
            host.trace = self.trace
            stack.enter_context(lock.locked(host, run_id, self.state_dir))
            earlier = load_all(host, self.state_dir)
            self._refuse_leftovers(host, earlier)
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
            provision=Choices.of(self.config, self.profile).provision,
            ours=[(e.stage, e.what) for journal in earlier for e in journal.pending()],
            out=self.say,
        )
        return host

    def _refuse_leftovers(self, host: Host, earlier: list[Journal]) -> None:
        left = [journal for journal in earlier if journal.pending(durable=False)]
        if left:
            ids = ", ".join(f"'{journal.run_id}'" for journal in left)
            first = left[0].pending(durable=False)[0]
            raise Refused(
                f"Host '{host.name}' still has what run {ids} changed, such as:"
                f" [{first.stage}] {first.what}.",
                hint=recover_line(self.config, os.environ),
            )

    def say(self, text: str) -> None:
        """A line for the terminal, at once and masked, from any thread."""
        self.screen.say(text)

    def close(self, failed: bool) -> None:
        """Undo, unless it is to be kept, and let go of everything; can be called again."""
        if self.run is None:
            return
        with undisturbed(self.say), self.screen.task("undo"):
            run, self.run, self.host = self.run, None, None
            choices = Choices.of(self.config, self.profile)
            wanted = choices.keep == "always" or (choices.keep == "on-failure" and failed)
            self.kept = wanted and not self.interrupted
            try:
                self._put_back(run, choices.restore)
            except Exception as error:
                self.unreachable = self.unreachable or isinstance(error, HostUnreachable)
                self.closing_error += f"The undo could not be finished: {_said(error)}"
            try:
                self._stack.close()
            except Exception as error:
                self.closing_error += f"The host could not be closed: {_said(error)}"

    def _put_back(self, run: Run[BaseProfile], restore: bool) -> None:
        if stuck := run.background.close():
            names = ", ".join(f"'{name}'" for name in stuck)
            self.trouble.append(f"Background stage {names} could not be ended.")
        if not self.kept:
            undo(run.journal, restore, self.undo.append)
            if restore:
                recover(run.host, self.state_dir, durable=True, tell=self.undo.append)

    def saw(self, error: BaseException | None) -> None:
        """Keep in mind whether the first failure is that the host could not be reached."""
        cause = error.cause if isinstance(error, StageFailed) else error
        if self.unreachable is None:
            self.unreachable = isinstance(cause, HostUnreachable)

    @property
    def troubles(self) -> list[str]:
        """What went wrong in the harness itself; the record lacks what could not be written."""
        return [*self.trouble, *([self.trace.trouble] if self.trace.trouble else [])]

    def status(self, own: int, regression: bool) -> int:
        """The exit status of the run, from that of pytest (`harness.exits`)."""
        return exits.status(
            own,
            unreachable=bool(self.unreachable),
            residue=bool(self.closing_error) or any(not result.ok for result in self.undo),
            error=bool(self.troubles),
            refused=self.refused,
            regression=regression,
        )

    def way_back(self) -> list[str]:
        """What to tell of a host that is not as it was: how to get in, and how to clean up."""
        return self.farewell or [
            f"to get in: {self.login}",
            f"to clean up: {recover_line(self.config, os.environ)}",
        ]

    def end(self, exit_status: int) -> None:
        """Finish the record, and mask what others wrote for this run: junit, a lab's console."""
        failed = [str(result) for result in self.undo if not result.ok]
        assert self.run_dir is not None
        ours = self.run_dir / "record.jsonl"
        others = [path for path in self.run_dir.rglob("*") if path != ours]
        junit = self.config.option.xmlpath
        try:
            self.trace.masker.files([*others, *([Path(junit)] if junit else [])])
            evidence.list_rest(self.run_dir, self.trace)
        except OSError as error:
            self.trouble.append(f"What others wrote could not be masked: {error}")
        self.trace.event(
            "run",
            state="ended",
            exit_status=exit_status,
            undone=len(self.undo) - len(failed),
            undo_failed=failed,
            kept=self.kept,
            error=self.closing_error or None,
            trouble=self.troubles,
        )
        self.trace.close()
        self.ended = True

    def left_hosts(self, directory: Path) -> Iterable[contextlib.AbstractContextManager[Host]]:
        """The host of this profile, or all on which its dead runs may have left something."""
        if self.leftovers is None:
            return [self.connect(self.profile, directory)]
        return self.leftovers(self.profile, directory)


def _said(error: Exception) -> str:
    return str(error) if isinstance(error, LabError) else f"{type(error).__name__}: {error}"


def _point_last(runs: Path, run_id: str) -> None:
    fresh = runs / f".last-{run_id}"
    fresh.symlink_to(run_id)
    fresh.replace(runs / "last")


def _digest(profile: object) -> str:
    """Of the effective profile, secrets masked; it tells that a value was changed, not which."""
    return hashlib.sha256(json.dumps(profile, sort_keys=True).encode()).hexdigest()


CHANGED = "+changes"  # ends the name of a commit that is not what lies there


def commit(folder: Path = Path(__file__).parents[2]) -> str | None:
    """The git commit of a folder, with CHANGED where files differ from it; None without git."""
    try:
        head = _git(folder, "rev-parse", "HEAD").strip()
        return head + (CHANGED if _git(folder, "status", "--porcelain").strip() else "")
    except (OSError, subprocess.SubprocessError):
        return None


def _git(folder: Path, *words: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(folder), *words], capture_output=True, text=True, check=True, timeout=30
    )
    return done.stdout
