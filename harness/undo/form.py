"""The form of a journal's lines, and of the lock: plain JSON that is held against it when read.

What stands in a journal is executed as root, so nothing is guessed or converted: a line that has
another form in any way is refused, and its whole journal with it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

VERSION = 1
RUN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}")  # a run's id: in names of files, and patterns


def _is_text(value: object) -> bool:
    return isinstance(value, str) and value != ""


def _is_run(value: object) -> bool:
    return isinstance(value, str) and RUN.fullmatch(value) is not None


def _is_number(value: object) -> bool:
    return type(value) is int  # true is one, too, for isinstance


def _is_id(value: object) -> bool:
    return type(value) is int and value > 0


def _is_command(value: object) -> bool:
    """A program, and words that may be empty; a NUL ends a word for the kernel."""
    words = value if isinstance(value, list | tuple) else ()
    return all(isinstance(word, str) and "\0" not in word for word in words) and any(words[:1])


def _is_undo(value: object) -> bool:
    return isinstance(value, list | tuple) and len(value) > 0 and all(map(_is_command, value))


Form = Mapping[str, tuple[Callable[[Any], bool], str]]  # of a field: whether it fits; what fits

_TEXT = (_is_text, "a text that is not empty")
_NUMBER = (_is_number, "a whole number")
_ID = (_is_id, "a whole number above 0")
_COMMAND = "a list of words, the first of them a program"

OWNER: Form = {
    "run": (_is_run, "the id of a run"),
    **dict.fromkeys(("user", "runner", "runner_boot"), _TEXT),
    "pid": _ID,
    "started": _NUMBER,
    **dict.fromkeys(("since", "boot", "pid_ns"), _TEXT),
}
HEADER: Form = {"journal": _NUMBER, **OWNER}
ENTRY: Form = {
    "id": _ID,
    "stage": _TEXT,
    "what": _TEXT,
    "undo": (_is_undo, f"a list of commands, at least one, each {_COMMAND}"),
    "when": (lambda value: value is None or _is_command(value), f"null, or {_COMMAND}"),
    "durable": (lambda value: isinstance(value, bool), "true or false"),
}
DONE: Form = {"done": _ID, "outcome": _TEXT}


def hold(data: Mapping[str, object], form: Form) -> None:
    """Raise ValueError, which says what was expected, where `data` is not of a form."""
    for name, (fits, expected) in form.items():
        if name not in data:
            raise ValueError(f"'{name}' is missing; it has to be {expected}")
        if not fits(data[name]):
            raise ValueError(f"'{name}' has to be {expected}")
    for name in data:
        if name not in form:
            raise ValueError(f"'{name}' is nothing that stands there: it has {', '.join(form)}")


def parse(text: str) -> dict[str, Any]:
    """A JSON object, each of its names there once; ValueError says what it is instead."""
    try:
        data = json.loads(text, object_pairs_hook=_once)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"a JSON object was expected: {error}") from error
    if not isinstance(data, dict):
        raise ValueError("a JSON object was expected")
    return data


def _once(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    data = dict(pairs)
    if len(data) < len(pairs):
        raise ValueError("a name stands in it twice")
    return data
