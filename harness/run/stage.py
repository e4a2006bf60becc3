"""Stages: probe -> provision -> verify, on one host, in one run."""

from __future__ import annotations

import hashlib
import inspect
import json
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Generic, Literal, TypeVar

import pytest

from harness.errors import LabError, TimeIsUp
from harness.host.command import HostUnreachable
from harness.host.host import Host
from harness.host.shape import BadJson, read
from harness.record.evidence import Evidence
from harness.record.facts import as_json, shown_in
from harness.record.trace import STAGE, Trace, at_stage
from harness.run import modules
from harness.undo.journal import Entry, Journal

KNOWN = 20  # results of a durable stage that are remembered, of several tags or work images

P = TypeVar("P")
F = TypeVar("F")
S = TypeVar("S", bound="Stage[Any, Any]")
T = TypeVar("T")
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

    `host_programs`: those that the stage, its undo and its suite call there, beside coreutils;
    it does not begin where one is missing. `durable`: what it makes is kept for later runs, and
    reused while `inputs` stay the same.
    `modules`: kernel modules that it, or what it calls, brings in; the undo unloads those that were
    not loaded before, unless somebody else uses them by then.
    `evidence`: shell scripts; from the stage's start on a failed test keeps what each prints, in a
    file of that name.
    """

    name: ClassVar[str]
    host_programs: ClassVar[str] = ""
    durable: ClassVar[bool] = False
    evidence: ClassVar[Mapping[str, str]] = {}
    modules: ClassVar[str] = ""

    @classmethod
    def keeps(cls, profile: P, state: str) -> Sequence[str]:
        """What it leaves for later runs, as shell patterns of 'KIND ITEM' of the fingerprint.

        ``state`` is the harness's own folder on the host. Anything else that is otherwise after the
        undo fails the run (`harness.exits.RESIDUE`).
        """
        return ()

    @classmethod
    def plan(cls, profile: P) -> Sequence[str]:
        """The changes of `provision`, one line each, from the profile alone (`--plan`).

        By default the first line of the class's own docstring, or its name where it has none.
        """
        return [(cls.__doc__ or cls.name).strip().partition("\n")[0]]

    @classmethod
    def preflight(cls, run: Run[P]) -> Iterable[LabError]:
        """What will end or spoil this stage, as far as the host tells before anything is touched.

        One error for each thing, with its hint and clause. Changes nothing; asked of all stages at
        the beginning of a run that provisions.
        """
        return ()

    def inputs(self) -> Mapping[str, object]:
        """Everything that the result depends on; a change means provisioning anew."""
        return {}

    def product(self) -> str:
        """The identity of what a durable stage's earlier run has made and is there now, else "".

        An id, an inode, no name: by that it is known as made from those inputs, so that a run that
        fails, or makes another product, takes nothing of it away. A stage without one has its
        result forgotten as soon as it is made anew.
        """
        return ""

    def probe(self) -> F | None:
        """The facts, if the stage's result is there already; None or a LabError: provision it.

        Changes nothing. It checks as much as `verify`, which is not called on a reused result.
        """
        return None

    @property
    def idle(self) -> float:
        """Seconds between the end of what `start` began and `provision`: none of its own."""
        return 0.0

    def start(self) -> None:
        """Begin what takes long, as a job on the host, and return at once; the journal first.

        `provision` follows: at once, or after other stages where a fixture begins it (`Run.begin`).
        """

    @abstractmethod
    def provision(self) -> None:
        """Carry out the stage; every change goes to the journal before it is made."""

    @abstractmethod
    def verify(self) -> F:
        """Check the result from outside and return the facts; changes nothing. Raises LabError."""


def stage_classes() -> list[type[Stage[Any, Any]]]:
    """Every stage that has been imported."""
    found = Stage.__subclasses__()
    for kind in found:  # which grows meanwhile
        found += kind.__subclasses__()
    return [kind for kind in found if hasattr(kind, "name")]


@dataclass(frozen=True)
class Declared:
    """The declaration of a stage's fixture: its budget in seconds, and a summary of one line.

    `early`: the fixtures that it takes, where it is to be made as soon as they are there.
    """

    budget: float
    summary: str
    early: frozenset[str] = frozenset()


DECLARED: dict[str, Declared] = {}  # every stage that has been imported, by its fixture's name


def stage(*, budget: float, early: bool = False) -> Callable[[Callable[..., Any]], object]:
    """Make a function the fixture of a stage: once per run; its arguments are its dependencies.

    What it raises is told as a failure of that stage, also where no `Run.stage` has raised it.

    `budget`: seconds that it may take on a host of usual pace, where the profile's [budget] does
    not say otherwise. `early`: it is made as soon as its arguments are there, if a selected test
    needs it; for what begins a job (`Run.begin`), beside which other stages then go on.

        @stage(budget=60)
        def hugepages(run: Run[Profile], platform: Platform) -> HugePages:
            return run.stage(HugePagesStage(run))
    """

    def declare(function: Callable[..., Any]) -> object:
        summary = (function.__doc__ or "").strip().partition("\n")[0]
        needs = frozenset(inspect.signature(function).parameters) if early else frozenset[str]()
        DECLARED[function.__name__] = Declared(budget, summary, needs)
        return pytest.fixture(scope="session")(function)

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
        earlier: Sequence[Entry] = (),
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
        self.earlier = tuple(earlier)  # what earlier runs have kept, as their journals had it
        self._ours = frozenset((entry.stage, entry.what) for entry in earlier)
        self.facts: dict[str, object] = {}
        self.failed: dict[str, StageFailed] = {}
        self._begun: dict[Stage[P, Any], Any] = {}  # with the facts of what is reused, or None
        self._reusing = False  # what an earlier run made is being looked at
        self._looked: dict[str, str] = {}  # what `remembered` has to write, by the stage
        self._since: dict[str, float] = {}  # when each stage was begun, monotonic
        self._out = out
        self.offline: Path | None = None  # the folder that alone may have what is from outside
        self.stages = 0  # how many there are to be, where somebody has counted them

    def begin(self, stage: S) -> S:
        """Begin a stage that `stage` is to bring about later; return it, also where that fails.

        Its error is raised by `stage`. With nothing to be provisioned, nothing is begun.
        """
        if self.provision != "never":
            with at_stage(stage.name), suppress(StageFailed):
                self._begun[stage] = self._begin(stage)
        return stage

    def stage(self, stage: Stage[P, F]) -> F:
        """Carry out a stage and return its facts; StageFailed, always the same one, if it fails."""
        if known := self.failed.get(stage.name):
            raise known
        with at_stage(stage.name):
            begun = stage in self._begun
            already: F | None = self._begun.pop(stage) if begun else self._begin(stage)
            return self._finish(stage) if already is None else already

    def close(self) -> None:
        """Put into the record what was begun, and nobody came to ask for; the undo ends its job."""
        begun, self._begun = self._begun, {}
        for stage in (stage for stage, already in begun.items() if already is None):
            with at_stage(stage.name):
                self._ended(stage, "interrupted", error="The run has ended.")

    def _begin(self, stage: Stage[P, F]) -> F | None:
        """The facts of what is there and is reused; else its long work is begun."""
        self._since[stage.name] = time.monotonic()
        self.trace.event("stage", name=stage.name, state="started", provision=self.provision)
        for name, script in stage.evidence.items():
            self.evidence.register(name, partial(_printed, self.host, script))
        with self._in_charge(stage):
            self.host.require(stage.host_programs.split())
            # A look at what is there may load some, too.
            modules.bring(self.host, self.journal, stage.name, stage.modules.split())
            if self.provision == "never":
                return None
            if self.provision == "auto" and (already := self._already(stage)) is not None:
                return self._done(stage, already, "reused")
            if stage.durable and type(stage).product is Stage.product:
                self.host.run("rm", "-f", "--", self._digest_path(stage))
            stage.start()
        return None

    def _finish(self, stage: Stage[P, F]) -> F:
        with self._in_charge(stage):
            if self.provision == "never":
                return self._done(stage, self._verify_only(stage), "verified only")
            stage.provision()
            facts = stage.verify()
            if stage.durable:
                path = self._digest_path(stage)
                self.host.run("mkdir", "-p", "-m", "700", "--", path.rpartition("/")[0])
                line = f"{_digest(stage.inputs())} {stage.product()}".strip()
                lines = [*self._known(stage), line][-KNOWN:]
                self.host.write(path, "\n".join(lines) + "\n", 0o600)
            return self._done(stage, facts, "provisioned")

    def remembered(self, stage: str, identity: str, shape: type[T], look: Callable[[], T]) -> T:
        """What `look` finds; of what an earlier run of a durable stage has made, what it saw then.

        `identity` tells that nothing of it has changed since: a digest of its contents, or a file's
        inode, size and times. What looks must be the same, too. `shape` is a class of facts.
        """
        path = f"{self.journal.state}/stages/{stage}.seen"
        key = _digest({"identity": identity, "code": _code(look)})
        if self._reusing and self.host.exists(path):
            of, _, said = self.host.read(path).partition("\n")
            with suppress(BadJson):  # of another version
                if of == key:
                    seen = read(said, shape, "what was seen should be JSON")
                    self.progress("nothing of it has changed since it was looked at")
                    return seen
        found = look()
        self._looked[stage] = f"{key}\n{json.dumps(as_json(found, stage))}\n"
        return found

    def _done(self, stage: Stage[P, F], facts: F, how: str) -> F:
        if seen := self._looked.pop(stage.name, ""):
            self.host.write(f"{self._digest_path(stage)}.seen", seen, 0o600)
        found = {"facts": as_json(facts, stage.name), "shown": shown_in(facts, stage.name)}
        self._ended(stage, "ok", how=how, **found)
        return facts

    @contextmanager
    def _in_charge(self, stage: Stage[P, Any]) -> Iterator[None]:
        """Within the block, what is raised is the failure of this stage."""
        try:
            yield
        except (Exception, pytest.fail.Exception) as error:  # TimeIsUp is of the latter kind
            failure = StageFailed(stage.name, error)
            self.failed[stage.name] = failure
            self._ended(stage, "failed", error=str(failure))
            raise failure from error
        except BaseException as error:
            self._ended(stage, "interrupted", error=type(error).__name__)
            raise

    def _ended(self, stage: Stage[P, Any], state: str, **fields: object) -> None:
        spent = time.monotonic() - self._since[stage.name] - stage.idle
        seconds = round(max(0.0, spent), 3)
        self.trace.event("stage", name=stage.name, state=state, seconds=seconds, **fields)
        how = f" ({fields['how']})" if "how" in fields else ""
        self.progress(f"{state}{how}, {seconds:.0f} s")

    def _already(self, stage: Stage[P, F]) -> F | None:
        """The facts of a result that can be reused, or None; a LabError of the probe is shown."""
        self._reusing = True
        try:
            return stage.probe() if self._reusable(stage) else None
        except HostUnreachable:  # that says nothing of what is there
            raise
        except LabError as error:
            self.progress(f"cannot be reused: {error.message.splitlines()[0]}")
            return None
        finally:
            self._reusing = False

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
        made = [line.split(" ", 1) for line in self._known(stage)]
        digest = _digest(stage.inputs()) if made else ""
        of_these = [identity for inputs, *identity in made if inputs == digest]
        return bool(of_these) and stage.product() in ("".join(each) for each in of_these)

    def _known(self, stage: Stage[P, F]) -> list[str]:
        """The results that are known, the last one last: each by its inputs and its identity."""
        path = self._digest_path(stage)
        return self.host.read(path).splitlines() if self.host.exists(path) else []

    def is_ours(self, stage: str, what: str) -> bool:
        """Whether an earlier run made this change and kept it; `what` as in its journal entry.

        A thing on the host for which this is False belongs to somebody else, so `what` has to have
        its identity in it: a name alone may be another's by now (`Journal.keep`).
        """
        return (stage, what) in self._ours

    def kept(self) -> set[tuple[str, str]]:
        """(stage, what) of all changes that are kept for later runs, by this one and by earlier."""
        return {*self._ours, *((entry.stage, entry.what) for entry in self.journal.pending())}

    def fact(self, name: str, value: object) -> None:
        """Put a value read from the host into the record; TypeError for what JSON does not have."""
        found = {"value": as_json(value, name), "shown": shown_in(value, name)}
        self.facts[name] = value
        self.trace.event("fact", name=name, **found)

    def progress(self, text: str) -> None:
        """Tell the person who waits, with the stage's number and minutes; also into the record."""
        stage = STAGE.get()
        if stage:
            text = f"[{stage}] {text}"
        self.trace.event("progress", text=text)
        if self.stages and stage in self._since:
            number = [*self._since].index(stage) + 1
            minutes, seconds = divmod(int(time.monotonic() - self._since[stage]), 60)
            text = f"{number}/{self.stages} {minutes}:{seconds:02} {text}"
        self._out(self.trace.mask(text))


def _printed(host: Host, script: str) -> str:
    """The output of a script, however it ends."""
    result = host.ask("sh", "-c", script)
    return result.out + result.err


def _code(look: Callable[[], object]) -> str:
    """A digest of the folder of modules that a function, or what a partial calls, is in."""
    found = hashlib.sha256()
    for path in sorted(Path(inspect.getfile(getattr(look, "func", look))).parent.glob("*.py")):
        found.update(path.read_bytes())
    return found.hexdigest()


def _digest(inputs: Mapping[str, object]) -> str:
    text = json.dumps(as_json(inputs, "inputs"), sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()
