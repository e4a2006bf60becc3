"""Stages: probe -> provision -> verify, on one host, in one run."""

from __future__ import annotations

import hashlib
import json
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Generic, Literal, TypeVar

import pytest

from harness.errors import LabError, TimeIsUp
from harness.host.command import HostUnreachable
from harness.host.host import ANY, Host
from harness.record.evidence import Evidence
from harness.record.facts import as_json, shown_in
from harness.record.trace import STAGE, Trace, at_stage
from harness.run.background import Background, Early
from harness.undo.journal import Journal

P = TypeVar("P")
F = TypeVar("F")
Provision = Literal["auto", "always", "never"]


class StageFailed(LabError):
    """A stage has failed: its name, and the first error as a sentence."""

    def __init__(self, name: str, cause: BaseException) -> None:
        if isinstance(cause, LabError | TimeIsUp):
            text = cause.message
        else:
            kind, text = type(cause).__name__, str(cause).strip()
            text = f"{kind}: {text}" if text else kind
        super().__init__(
            f"Stage '{name}' failed: {text}",
            hint=getattr(cause, "hint", None),
            clause=getattr(cause, "clause", None),
        )
        self.name = name
        self.cause = cause

    @property
    def brief(self) -> str:
        """One line, for a skip's reason."""
        line = self.message.partition(": ")[2].strip().splitlines()
        return f'stage "{self.name}" failed: {line[0] if line else type(self.cause).__name__}'


class Stage(ABC, Generic[P, F]):
    """One step of the procedure on the lab of a profile `P`; its facts are `F`, a class of `facts`.

    `durable`: what it makes is kept for later runs, and reused while `inputs` stay the same.
    `evidence`: shell scripts; from the stage's start on a failed test keeps what each prints, in a
    file of that name.
    """

    name: ClassVar[str]
    durable: ClassVar[bool] = False
    evidence: ClassVar[Mapping[str, str]] = {}

    @classmethod
    def plan(cls, profile: P) -> Sequence[str]:
        """The changes of `provision`, one line each, from the profile alone (`--plan`).

        By default the first line of the class's own docstring, or its name where it has none.
        """
        return [(cls.__doc__ or cls.name).strip().partition("\n")[0]]

    def inputs(self) -> Mapping[str, object]:
        """Everything that the result depends on; a change means provisioning anew."""
        return {}

    def probe(self) -> F | None:
        """The facts, if the stage's result is there already; None or a LabError: provision it.

        Changes nothing. It checks as much as `verify`, which is not called on a reused result.
        """
        return None

    @abstractmethod
    def provision(self) -> None:
        """Carry out the stage; every change goes to the journal before it is made."""

    @abstractmethod
    def verify(self) -> F:
        """Check the result from outside and return the facts; changes nothing. Raises LabError."""


@dataclass(frozen=True)
class Declared:
    """The declaration of a stage's fixture: its budget in seconds, and a summary of one line."""

    budget: float
    summary: str


DECLARED: dict[str, Declared] = {}  # every stage that has been imported, by its fixture's name


def stage(*, budget: float, early: bool = False) -> Callable[[Callable[..., Any]], object]:
    """Make a function the fixture of a stage: once per run; its arguments are its dependencies.

    `budget`: seconds that it may take on a host of usual pace, where the profile's [budget] does
    not say otherwise. `early`: it is carried out in a thread as soon as its arguments are there,
    and must be independent of other stages; TypeError where it cannot be (`Early`).

        @stage(budget=60)
        def hugepages(run: Run[Profile], platform: Platform) -> HugePages:
            return run.stage(HugePagesStage(run))
    """

    def declare(function: Callable[..., Any]) -> object:
        summary = (function.__doc__ or "").strip().partition("\n")[0]
        DECLARED[function.__name__] = Declared(budget, summary)
        return pytest.fixture(scope="session")(Early(function) if early else function)

    return declare


class Run(Generic[P]):
    """One acceptance run on one host: what stages and tests have in common."""

    def __init__(
        self,
        *,
        id: str,
        dir: Path,
        profile: P,
        host: Host,
        journal: Journal,
        trace: Trace,
        evidence: Evidence,
        provision: Provision = "auto",
        ours: Collection[tuple[str, str]] = (),
        out: Callable[[str], None] = print,
    ) -> None:
        self.id = id
        self.dir = dir
        self.profile = profile
        self.host = host
        self.journal = journal
        self.trace = trace
        self.evidence = evidence
        self.provision = provision
        self._ours = frozenset(ours)  # (stage, what) of all that earlier runs made and kept
        self.facts: dict[str, object] = {}
        self.failed: dict[str, StageFailed] = {}
        self.background = Background()
        self._out = out

    def stage(self, stage: Stage[P, F]) -> F:
        """Carry out a stage and return its facts; StageFailed, always the same one, if it fails."""
        if known := self.failed.get(stage.name):
            raise known
        with at_stage(stage.name):
            return self._carry_out(stage)

    def _carry_out(self, stage: Stage[P, F]) -> F:
        started = time.monotonic()
        self.trace.event("stage", name=stage.name, state="started", provision=self.provision)
        for name, script in stage.evidence.items():
            self.evidence.register(name, partial(_printed, self.host, script))
        try:
            facts, how = self._bring_about(stage)
            found = {"facts": as_json(facts, stage.name), "shown": shown_in(facts, stage.name)}
        except (Exception, pytest.fail.Exception) as error:  # TimeIsUp is of the latter kind
            failure = StageFailed(stage.name, error)
            self.failed[stage.name] = failure
            self._ended(stage.name, "failed", started, error=str(failure))
            raise failure from error
        except BaseException as error:
            self._ended(stage.name, "interrupted", started, error=type(error).__name__)
            raise
        self._ended(stage.name, "ok", started, how=how, **found)
        return facts

    def _ended(self, name: str, state: str, started: float, **fields: object) -> None:
        seconds = round(time.monotonic() - started, 3)
        self.trace.event("stage", name=name, state=state, seconds=seconds, **fields)
        how = f" ({fields['how']})" if "how" in fields else ""
        self.progress(f"{state}{how}, {seconds:.0f} s")

    def _bring_about(self, stage: Stage[P, F]) -> tuple[F, str]:
        if self.provision == "never":
            return self._verify_only(stage), "verified only"
        if self.provision == "auto" and (already := self._already(stage)) is not None:
            return already, "reused"
        if stage.durable:
            self.host.run("rm", "-f", "--", self._digest_path(stage))
        stage.provision()
        facts = stage.verify()
        if stage.durable:
            path = self._digest_path(stage)
            self.host.run("mkdir", "-p", "-m", "700", "--", path.rpartition("/")[0])
            self.host.write(path, _digest(stage.inputs()) + "\n", 0o600)
        return facts, "provisioned"

    def _already(self, stage: Stage[P, F]) -> F | None:
        """The facts of a result that can be reused, or None; a LabError of the probe is shown."""
        if not self._reusable(stage):
            return None
        try:
            return stage.probe()
        except HostUnreachable:  # that says nothing of what is there
            raise
        except LabError as error:
            self.progress(f"cannot be reused: {error.message.splitlines()[0]}")
            return None

    def _verify_only(self, stage: Stage[P, F]) -> F:
        try:
            return stage.verify()
        except LabError as error:
            if error.hint is None:
                error.hint = "with --provision never it has to be there already"
            raise

    def _digest_path(self, stage: Stage[P, F]) -> str:
        return f"{self.journal.state}/stages/{stage.name}"

    def _reusable(self, stage: Stage[P, F]) -> bool:
        """Whether to probe: always for a transient stage, a durable one only with equal inputs."""
        if not stage.durable:
            return True
        path = self._digest_path(stage)
        if not self.host.exists(path):
            return False
        return self.host.read(path).strip() == _digest(stage.inputs())

    def is_ours(self, stage: str, what: str) -> bool:
        """Whether an earlier run made this change and kept it; `what` as in its journal entry.

        A thing on the host for which this is False belongs to somebody else.
        """
        return (stage, what) in self._ours

    def fact(self, name: str, value: object) -> None:
        """Put a value read from the host into the record; TypeError for what JSON does not have."""
        found = {"value": as_json(value, name), "shown": shown_in(value, name)}
        self.facts[name] = value
        self.trace.event("fact", name=name, **found)

    def progress(self, text: str) -> None:
        """Tell the person who waits; also into the record."""
        if stage := STAGE.get():
            text = f"[{stage}] {text}"
        self.trace.event("progress", text=text)
        self._out(self.trace.mask(text))


def _printed(host: Host, script: str) -> str:
    """The output of a script, however it ends."""
    result = host.run("sh", "-c", script, ok=ANY, probe=True)
    return result.out + result.err


def _digest(inputs: Mapping[str, object]) -> str:
    text = json.dumps(as_json(inputs, "inputs"), sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()
