"""The fault catalogue: what is wrong on a lab host, and which clause has to fail for it.

Each `.toml` beside this one is of a suite, and each `[[fault]]` in it a fault of one cause. It says
how the fault is set off in each form that it has: `replay`, what a host that answers from a record
says instead (`tests/unit/faulty.py`), and `lab`, what is done to a virtual lab
(`vlab/faults/on_lab.py`). In both the real suites run, and `vlab/faults/verdict.py` judges.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from string import Template
from typing import Any

FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class Reply:
    """What the host answers otherwise, or its model server; one of these forms.

    `asks`: to a command with these texts in it, that `stage` gives (any stage and test by default;
    `suite` means the tests alone), it answers with `status`, `out` and `err`; after as long as it
    may take if `late`; not at all, since the connection is gone, if `lost`, or since the host has
    rebooted, if `rebooted`: nothing is answered any more. With `old`, a regular expression, it is
    the recorded answer, with `new` in its place.
    `job`: that job ends with `status`, or is "gone" without one, having said `out`.
    `path`: the model server answers to that path with `status` and `out`.
    `turns`: only to these of its commands or requests, counted from 1; by default to all.

    In all texts `$gpu`, `$group` and such are the recorded lab's (`tests/unit/faulty.py`).
    """

    asks: Sequence[str] = ()
    stage: str = ""
    job: str = ""
    path: str = ""
    status: int | str = 0
    out: str = ""
    err: str = ""
    old: str = ""
    new: str = ""
    late: bool = False
    lost: bool = False
    rebooted: bool = False
    turns: Sequence[int] = ()


@dataclass(frozen=True)
class OnLab:
    """How a fault is set off on a virtual lab, and what is otherwise there than in the replay.

    `set` is a shell script that root carries out in the lab before the run, `back` one that takes
    it back after it; both end at the first command that fails. With `when`, `set` begins as the run
    prints a line with that text. `suites` are those that run (`verdict.suites` by default).
    `profile`, `says`, `also` and `exit` take the place of the fault's own. `sampled`: it was seen
    on a lab to be caught in some minutes, so it is among those that CI tries in turn.
    """

    set: str = ""
    back: str = ""
    when: str = ""
    suites: Sequence[str] = ()
    profile: Mapping[str, Mapping[str, Any]] | None = None
    says: Sequence[str] | None = None
    also: Sequence[str] | None = None
    exit: int | None = None
    sampled: bool = False


@dataclass(frozen=True)
class Fault:
    """A fault, and what a run has to make of it.

    `clause` has to fail, and no other but those of `also`, which rest on the same. `says` are texts
    that its message has to have: the cause. `advice` is what to do, as Markdown; `zh` are title and
    advice in Chinese: all of these make docs/troubleshooting.md. `exit` is the exit status of the
    run; with 0 the fault is one to be borne: nothing may fail, and there is no advice. `profile`
    are settings, by section; `without` are programs that the host lacks. `alarm`: a test's time is
    up whenever that hook of pytest is called (`tests/sample/alarm.py`); `no_room`: from the undo
    on, the runner's disk is full. `left`: what the undo cannot take back, or the record has not,
    and has to tell of. `missed`: why it is not caught so far.
    """

    suite: str
    name: str
    title: str
    source: str
    clause: str
    says: Sequence[str]
    advice: str = ""
    zh: Sequence[str] = ()
    replay: Sequence[Reply] = ()
    lab: OnLab | None = None
    also: Sequence[str] = ()
    profile: Mapping[str, Mapping[str, Any]] | None = None
    without: Sequence[str] = ()
    alarm: str = ""
    no_room: bool = False
    exit: int = 1
    left: str = ""
    missed: str = ""

    @property
    def replayed(self) -> bool:
        """Whether there is a form on the replayed host."""
        return any((self.replay, self.without, self.profile, self.alarm, self.no_room))


def load() -> list[Fault]:
    """All faults, by suite and then as they stand there; TypeError for an unknown key."""
    return [
        _fault(path.stem, **entry)
        for path in sorted(FOLDER.glob("*.toml"))
        for entry in tomllib.loads(path.read_text("utf-8"))["fault"]
    ]


def _fault(suite: str, **entry: Any) -> Fault:
    replies = [Reply(**one) for one in entry.pop("replay", ())]
    lab = entry.pop("lab", None)
    on_lab = None if lab is None else OnLab(**lab)
    return Fault(suite, replay=replies, lab=on_lab, **entry)


def filled(fault: Fault, names: Mapping[str, str]) -> Fault:
    """The fault with what a lab calls things in the place of `$gpu` and such; others stay."""

    def fill(value: Any) -> Any:
        if isinstance(value, str):
            return Template(value).safe_substitute(names)
        if isinstance(value, Mapping):
            return {key: fill(each) for key, each in value.items()}
        if isinstance(value, Reply | OnLab):
            return replace(value, **fill(vars(value)))
        return [fill(each) for each in value] if isinstance(value, list | tuple) else value

    return replace(fault, **fill(vars(fault)))
