"""Turning pydantic's errors into lines for whoever wrote the profile.

A type of ours says in words what it takes (`Wanted`), with an example; other types are named by
what pydantic says of them, with the schema's own default for an example. No line has a pattern, a
class or a type of Python's in it.
"""

from __future__ import annotations

import difflib
import json
import re
import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pydantic

from harness.profile.source import Source, shown, toml_kind

_SHOWN = 60  # characters of a found value
# What pydantic says, and what a person would.
_PHRASES = (
    (r"^Input should be (a valid dictionary.*|an object)$", "a table"),
    (r"^Input should be a valid (array|tuple|list)$", "an array in brackets"),
    (r"^Input should be a valid string$", "a string in quotation marks"),
    (r"^Input is not a valid path$", "a path in quotation marks"),
    (r"^Input should be a valid boolean$", "true or false, without quotation marks"),
    (r"^Input should be a valid (integer|number).*$", r"a valid \1"),
    (r"^Unable to parse input string as an integer.*$", "a smaller number"),
    (r"^Input should be a valid date.*$", "a date such as 2027-01-31"),
    (r"^String should have at least 1 character$", "a string that is not empty"),
    (r"^\w+ should have at least 1 item.*$", "an array that is not empty"),
    (r"^Input should be (greater|less) than", r"a number \1 than"),
    (r"^(Input should be|Value error,|Assertion failed,) ", ""),
)
_EXEMPLARY = ("a string", "an array", "a valid ", "a number ")


class UnknownName(ValueError):
    """A key of a map that is not in `known`."""

    def __init__(self, known: Iterable[str]) -> None:
        super().__init__("a known name")
        self.known = sorted(known)


class Unwanted(ValueError):
    """A value that is not what was expected: this in words, and why not.

    `kind` is pydantic's word for the error; `key` the one of a table that is meant, and `found`
    what is said instead of its value.
    """

    def __init__(
        self, words: str, *, why: str = "", kind: str = "", key: str = "", found: str = ""
    ) -> None:
        super().__init__(f"{words} ({why})" if why else words)
        self.words, self.why, self.kind, self.key, self.found = words, why, kind, key, found


class _InWords:
    """The check behind `Wanted`."""

    def __init__(self, words: str) -> None:
        self.words = words

    def __call__(self, value: Any, handler: pydantic.ValidatorFunctionWrapHandler) -> Any:
        try:
            return handler(value)
        except pydantic.ValidationError as error:
            first = error.errors(include_url=False)[0]
            why = str(first["ctx"]["error"]) if first["type"] == "value_error" else ""
            raise Unwanted(self.words, why=why, kind=first["type"]) from None


def Wanted(words: str) -> pydantic.WrapValidator:  # it stands among classes
    """In an Annotated type: the words for what it takes, with an example; said of all else.

    What a validator within it says (a ValueError) is told besides, as the reason.
    """
    return pydantic.WrapValidator(_InWords(words))


def wrong_at(key: str, expected: str, found: str = "") -> Unwanted:
    """The error of a table's validator, for one key of it: what was expected there, in words.

    `found`: what is said instead of the value.
    """
    return Unwanted(expected, key=key, found=found)


def no_text(item: Mapping[str, Any]) -> bool:
    """Whether an error of pydantic's is that a string was expected."""
    cause = item.get("ctx", {}).get("error")
    return "string_type" in (item["type"], getattr(cause, "kind", ""))


def explain(
    error: pydantic.ValidationError, schema: type[pydantic.BaseModel], source: Source
) -> list[str]:
    """One line per error: source, key path, expected, found, and for a typo the nearest key."""
    items = [dict(item) for item in error.errors(include_url=False)]
    # A key that is mistyped first: the one that was meant is then missing.
    items.sort(key=lambda item: item["type"] != "extra_forbidden")
    return [_line(item, schema, source) for item in items]


def _line(item: dict[str, Any], schema: type[pydantic.BaseModel], source: Source) -> str:
    loc: list[Any] = [part for part in item["loc"] if part != "[key]"]  # pydantic's: of a map
    found = item.get("input")
    cause = item.get("ctx", {}).get("error")
    if isinstance(cause, Unwanted) and cause.key:
        loc.append(cause.key)
        found = found.get(cause.key) if isinstance(found, dict) else None
    path = ".".join(str(part) for part in loc) or "(top level)"
    head = f"{source.where(loc)}: {path}: "
    if item["type"] == "extra_forbidden" or isinstance(cause, UnknownName):
        keys = cause.known if isinstance(cause, UnknownName) else _keys(schema, loc[:-1])
        near = difflib.get_close_matches(str(loc[-1]), keys, 1, 0.6)
        advice = f"; did you mean '{near[0]}'?" if near else ""
        return _printable_line(
            f"{head}expected one of {', '.join(keys) or 'no keys'}, found '{loc[-1]}'{advice}"
        )
    if item["type"] == "missing":
        return _printable_line(f"{head}expected {_required(schema, loc)}, found nothing")
    if not isinstance(cause, Unwanted):
        cause = Unwanted(_in_words(str(item["msg"]), schema, loc))
    why = f" ({cause.why})" if cause.why else ""
    if no_text(item) and cause.kind and found is not None:
        why = " (without quotation marks)"
    said = cause.found or _kind_and_value(found)
    return _printable_line(f"{head}expected {cause.words}, found {said}{why}")


def _in_words(said: str, schema: type[pydantic.BaseModel], loc: Sequence[Any]) -> str:
    """What pydantic says as an expectation, with the default for an example where it has one."""
    for pattern, phrase in _PHRASES:
        said = re.sub(pattern, phrase, said)
    example = _example(schema, loc)
    return f"{said} such as {example}" if example and said.startswith(_EXEMPLARY) else said


def _required(schema: type[pydantic.BaseModel], loc: Sequence[Any]) -> str:
    """What has to stand at a key that is not there."""
    field = _field(schema, loc)
    for entry in field.metadata if field is not None else ():
        if isinstance(check := getattr(entry, "func", None), _InWords):
            return check.words
    if field is not None and _models(field.annotation):
        return f"a table [{'.'.join(map(str, loc))}]"
    if field is not None and typing.get_origin(field.annotation) is typing.Literal:
        return f"one of {', '.join(map(repr, typing.get_args(field.annotation)))}"
    example = _example(schema, loc)
    return f"a value such as {example}" if example else "a value"


def _example(schema: type[pydantic.BaseModel], loc: Sequence[Any]) -> str:
    """A value for a key, as TOML has it: the field's own example, or else its default."""
    inner = [part for part in loc if isinstance(part, int)][-1:]  # of an array, its first
    field = _field(schema, loc[:-1] if inner else loc)
    if field is None:
        return ""
    value = field.examples[0] if field.examples else field.get_default(call_default_factory=True)
    value = list(value[:2]) if isinstance(value, tuple | list) else value
    value = value[0] if inner and isinstance(value, list) and value else value
    plain = isinstance(value, str | int | float | list) and value not in ("", [])
    return json.dumps(value, ensure_ascii=False, default=str) if plain else ""


def _field(
    schema: type[pydantic.BaseModel], loc: Sequence[Any]
) -> pydantic.fields.FieldInfo | None:
    """The field at a path of keys; None where it is no field of a table."""
    for model in _tables(schema, loc[:-1]):
        if loc and loc[-1] in model.model_fields:
            return model.model_fields[loc[-1]]
    return None


def _kind_and_value(value: Any) -> str:
    if value is None:
        return "nothing"
    kind = toml_kind(value)
    if isinstance(value, dict | list):
        return f"{kind} of {len(value)}"
    text = str(value).lower() if isinstance(value, bool) else repr(value)
    shown = text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"
    return f"{kind} {shown}"


def _printable_line(text: str) -> str:
    """A text as one printable line, whatever its keys and values hold."""
    return shown(" ".join(text.split()))


def _keys(schema: type[pydantic.BaseModel], loc: Sequence[Any]) -> list[str]:
    """The valid keys of the table at `loc`."""
    return sorted({name for model in _tables(schema, loc) for name in model.model_fields})


def _tables(schema: type[pydantic.BaseModel], loc: Sequence[Any]) -> list[type[pydantic.BaseModel]]:
    """The models of the table at `loc`."""
    models: list[type[pydantic.BaseModel]] = [schema]
    for part in loc:
        step: list[type[pydantic.BaseModel]] = []
        for model in models:
            if part in model.model_fields:
                step += _models(model.model_fields[part].annotation)
        # an index of an array, a key of a map or the tag of a union leads to no other model
        models = step or models
    return models


def _models(annotation: Any) -> list[type[pydantic.BaseModel]]:
    if isinstance(annotation, type) and not isinstance(annotation, types.GenericAlias):
        return [annotation] if issubclass(annotation, pydantic.BaseModel) else []
    return [model for part in typing.get_args(annotation) for model in _models(part)]
