"""Facts: what a stage finds, in values that JSON has, each with what a report needs to show it.

A class of facts is a frozen dataclass, and a field that a report shows says so where it stands:

    @facts
    class Platform:
        kernel: str = shown("Host kernel", "主机内核", kind="system")
        kernel_options: Mapping[str, str]  # in the record, and in no report's inventory

The record has the facts, and beside them a list of what is shown of them (`shown_in`). Reports read
that list, so no report knows a stage's fields by their names.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeVar, dataclass_transform

# The part of a report that shows a field: the inventory, what the model answered, or the picture of
# the devices (`harness.record.devices`).
Place = Literal["inventory", "answer", "host devices", "guest devices"]
# What a row of the inventory is about; "host" is hardware that tells one lab host from another.
Kind = Literal[
    "host",
    "hardware",
    "system",
    "software",
    "device",
    "device name",
    "device address",
    "device serial",
]
T = TypeVar("T")
_SHOWN, _HANDLE = "shown", "handle"  # keys of a field's metadata


@dataclass(frozen=True)
class Shown:
    """A field that a report shows: as it is declared, and in a record with its value.

    `label` has a text for each language. `ephemeral`: every new virtual lab has another value,
    which therefore explains nothing.
    """

    label: Mapping[str, str]
    place: Place = "inventory"
    kind: Kind = "software"
    unit: str = ""
    ephemeral: bool = False
    field: str = ""  # "answer.tokens_per_second": stage or fact, then the field
    value: Any = None  # a list, where the field is one of several alike


def shown(
    en: str,
    zh: str,
    *,
    place: Place = "inventory",
    kind: Kind = "software",
    unit: str = "",
    ephemeral: bool = False,
) -> Any:
    """A field of facts that a report shows, with its label in English and in Chinese (`Shown`).

    One that a later stage declares with the same English label takes its place, if it has a value.
    """
    declared = Shown({"en": en, "zh": zh}, place, kind, unit, ephemeral)
    return dataclasses.field(metadata={_SHOWN: declared})


def drawn(place: Literal["host devices", "guest devices"]) -> Any:
    """A field that holds devices of the report's picture (`harness.record.devices`)."""
    return dataclasses.field(metadata={_SHOWN: Shown({}, place)})


def handle() -> Any:
    """A field that is no fact, but a live object by which suites reach what the facts are about."""
    return dataclasses.field(metadata={_HANDLE: True}, repr=False, compare=False)


@dataclass_transform(frozen_default=True, field_specifiers=(shown, drawn, handle))
def facts(cls: type[T]) -> type[T]:
    """Make a class one of facts: a frozen dataclass, whose fields may be `shown`."""
    return dataclass(frozen=True)(cls)


def as_json(value: object, name: str) -> Any:
    """Facts as the record holds them. TypeError names the field of what JSON does not have."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        kept = (f.name for f in dataclasses.fields(value) if _HANDLE not in f.metadata)
        return {key: as_json(getattr(value, key), f"{name}.{key}") for key in kept}
    if isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
        return {key: as_json(item, f"{name}.{key}") for key, item in value.items()}
    if isinstance(value, set | frozenset):
        return sorted((as_json(item, name) for item in value), key=str)
    if isinstance(value, list | tuple):
        return [as_json(item, f"{name}[{number}]") for number, item in enumerate(value)]
    if value is None or isinstance(value, str | int):
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    raise TypeError(
        f"'{name}' is of type {type(value).__name__}, which JSON does not have: a fact is text,"
        " a number, true, false, None, or a dataclass, a list or a mapping by text of such"
        " (harness.record.facts.handle declares a field that is none)"
    )


def shown_in(value: object, name: str) -> list[dict[str, Any]]:
    """The fields of the facts called `name` that a report shows, nested ones included, as JSON."""
    found: dict[str, Shown] = {}
    for one, several in _declared(value, name, several=False):
        before = found.get(one.field)
        if several:
            one = dataclasses.replace(one, value=[*(before.value if before else ()), one.value])
        found[one.field] = one
    return [dataclasses.asdict(one) for one in found.values()]


def _declared(value: object, name: str, several: bool) -> Iterator[tuple[Shown, bool]]:
    """Each declared field with its value, and whether it is one of several alike."""
    if isinstance(value, list | tuple):
        for item in value:
            yield from _declared(item, name, several=True)
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        for field in dataclasses.fields(value):
            where, inner = f"{name}.{field.name}", getattr(value, field.name)
            if declared := field.metadata.get(_SHOWN):
                seen = as_json(inner, where)
                yield dataclasses.replace(declared, field=where, value=seen), several
            yield from _declared(inner, where, several)
