"""The fault catalogue: what is wrong on a lab host, and which clause has to fail for it.

Each file beside this one is of a suite, and each `[[fault]]` in it a fault of one cause. An entry
says how the fault is set off in each form that it has. The one form so far is `replay`: what a
host that answers from a record says instead (`tests/unit/faulty.py`). One on the virtual lab is to
be a table `lab` beside it: the commands that set it off there, and those that take it back.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class Reply:
    """What the host answers otherwise, or its model server; one of these forms.

    `asks`: to a command with these texts in it, that `stage` gives (any stage and test by default;
    `suite` means the tests alone), it answers with `status`, `out` and `err`; after as long as it
    may take if `late`; not at all, since the connection is gone, if `lost`. With `old`, a regular
    expression, it is the recorded answer, with `new` in its place.
    `job`: that job ends with `status`, or is "gone" without one, having said `out`.
    `path`: the model server answers to that path with `status` and `out`.

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


@dataclass(frozen=True)
class Fault:
    """A fault, and what a run has to make of it.

    `clause` has to fail, and no other but those of `also`, which rest on the same. `says` are texts
    that its message has to have: the cause. `exit` is the exit status of the run. `profile` are
    settings, by section; `without` are programs that the host lacks. `left`: what the undo cannot
    take back, and has to tell of. `missed`: why it is not caught so far.
    """

    suite: str
    name: str
    title: str
    source: str
    clause: str
    says: Sequence[str]
    replay: Sequence[Reply] = ()
    also: Sequence[str] = ()
    profile: Mapping[str, Mapping[str, Any]] | None = None
    without: Sequence[str] = ()
    exit: int = 1
    left: str = ""
    missed: str = ""


def load() -> list[Fault]:
    """All faults, by suite and then as they stand there; TypeError for an unknown key."""
    return [
        Fault(path.stem, **entry | {"replay": [Reply(**one) for one in entry.get("replay", ())]})
        for path in sorted(FOLDER.glob("*.toml"))
        for entry in tomllib.loads(path.read_text("utf-8"))["fault"]
    ]
