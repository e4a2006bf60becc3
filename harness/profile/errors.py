"""Turning pydantic's errors into lines for whoever wrote the profile."""

from __future__ import annotations

import difflib
import types
import typing
from collections.abc import Iterable, Sequence
from typing import Any

import pydantic

from harness.profile.source import Source, shown

_TOML_NAMES = {
    "str": "string",
    "int": "integer",
    "float": "float",
    "bool": "boolean",
    "dict": "table",
    "list": "array",
    "NoneType": "nothing",
}
_SHOWN = 60  # characters of a found value


class UnknownName(ValueError):
    """A key of a map that is not in `known`."""

    def __init__(self, known: Iterable[str]) -> None:
        super().__init__("a known name")
        self.known = sorted(known)


def explain(
    error: pydantic.ValidationError, schema: type[pydantic.BaseModel], source: Source
) -> list[str]:
    """One line per error: source, key path, expected, found, and for a typo the nearest key."""
    return [_line(dict(item), schema, source) for item in error.errors(include_url=False)]


def _line(item: dict[str, Any], schema: type[pydantic.BaseModel], source: Source) -> str:
    loc: Sequence[Any] = [part for part in item["loc"] if part != "[key]"]  # pydantic's: of a map
    path = ".".join(str(part) for part in loc) or "(top level)"
    head = f"{source.where(loc)}: {path}: "
    cause = item.get("ctx", {}).get("error")
    if item["type"] == "extra_forbidden" or isinstance(cause, UnknownName):
        keys = cause.known if isinstance(cause, UnknownName) else _keys(schema, loc[:-1])
        near = difflib.get_close_matches(str(loc[-1]), keys, 1, 0.6)
        advice = f"; did you mean '{near[0]}'?" if near else ""
        return _printable_line(
            f"{head}expected one of {', '.join(keys) or 'no keys'}, found '{loc[-1]}'{advice}"
        )
    if item["type"] == "missing":
        return _printable_line(f"{head}expected a value, found nothing")
    expected = str(item["msg"])
    for prefix in ("Input should be ", "Value error, ", "Assertion failed, "):
        expected = expected.removeprefix(prefix)
    return _printable_line(f"{head}expected {expected}, found {_kind_and_value(item.get('input'))}")


def _kind_and_value(value: Any) -> str:
    kind = type(value).__name__
    if isinstance(value, dict | list):
        return f"{_TOML_NAMES[kind]} of {len(value)}"
    text = repr(value)
    shown = text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"
    return f"{_TOML_NAMES.get(kind, kind)} {shown}"


def _printable_line(text: str) -> str:
    """A text as one printable line, whatever its keys and values hold."""
    return shown(" ".join(text.split()))


def _keys(schema: type[pydantic.BaseModel], loc: Sequence[Any]) -> list[str]:
    """The valid keys of the table at `loc`."""
    models: list[type[pydantic.BaseModel]] = [schema]
    for part in loc:
        step: list[type[pydantic.BaseModel]] = []
        for model in models:
            if part in model.model_fields:
                step += _models(model.model_fields[part].annotation)
        # an index of an array, a key of a map or the tag of a union leads to no other model
        models = step or models
    return sorted({name for model in models for name in model.model_fields})


def _models(annotation: Any) -> list[type[pydantic.BaseModel]]:
    if isinstance(annotation, type) and not isinstance(annotation, types.GenericAlias):
        return [annotation] if issubclass(annotation, pydantic.BaseModel) else []
    return [model for part in typing.get_args(annotation) for model in _models(part)]
