"""JSON of others, held against the shape that is needed of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError, model_validator

from harness.errors import LabError
from harness.text import head

SHOWN = 2000  # characters of a text that an error message shows

T = TypeVar("T")


class BadJson(LabError):
    """A text that is no JSON, or JSON of another shape; ``why`` says in which way."""

    def __init__(self, wanted: str, why: str, text: str, **options: str | None) -> None:
        shown = head(text.strip(), SHOWN)
        super().__init__(f"{wanted}, but {why}. It is:\n{shown or '(nothing)'}", **options)
        self.why = why


class Shape(BaseModel):
    """What is needed of an object; what else it has is passed over.

    A null counts as missing: programs in Go print it for what is empty.
    """

    model_config = ConfigDict(frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _without_nulls(cls, data: object) -> object:
        if not isinstance(data, Mapping):
            return data
        return {key: value for key, value in data.items() if value is not None}


def read(
    text: str, shape: type[T], wanted: str, *, hint: str | None = None, clause: str | None = None
) -> T:
    """A text as JSON of this shape: a Shape, or whatever else pydantic takes for a type.

    Raises BadJson: `wanted`, the beginning of its sentence, says what should have been JSON.
    """
    try:
        return TypeAdapter(shape).validate_json(text.encode("utf-8", "replace"))
    except ValidationError as error:
        raise BadJson(wanted, _first(error), text, hint=hint, clause=clause) from error


def _first(error: ValidationError) -> str:
    """Where it is otherwise first, and how."""
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    where = ".".join(map(str, first["loc"]))
    return f"{where}: {first['msg']}" if where else str(first["msg"])
