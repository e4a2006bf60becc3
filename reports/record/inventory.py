"""The hardware and software of a run, as the facts of its stages declare it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness.record.facts import Kind
from reports.record.record import Record


@dataclass(frozen=True)
class Item:
    """A row of the inventory; `label` by language, the rest as in `harness.record.facts.Shown`."""

    label: Mapping[str, str]
    value: str
    kind: Kind
    ephemeral: bool

    @property
    def name(self) -> str:
        """The English label, which is also the key in documents for programs."""
        return self.label["en"]


def inventory(record: Record) -> list[Item]:
    """All rows, in the order of the stages.

    Where two stages have the same label, the later one counts: the guest's kernel is the running
    one or, before it runs, the one of its image.
    """
    found: dict[str, Item] = {}
    for one in record.shown:
        if one.place == "inventory" and (value := _text(one.value)):
            item = Item(one.label, value, one.kind, one.ephemeral)
            found[item.name] = item
    return list(found.values())


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        value = _said(value.strip())
    if isinstance(value, Mapping):
        return ", ".join(f"{key}: {_text(item)}" for key, item in value.items())
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ", ".join(dict.fromkeys(filter(None, map(_text, value))))
    return str(value)


def _said(text: str) -> Any:
    """What a program has said: the object where it is one of JSON, and else the text."""
    try:
        return json.loads(text) if text.startswith("{") else text
    except (ValueError, RecursionError):
        return text
