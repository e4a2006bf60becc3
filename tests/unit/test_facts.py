"""Facts: what the record takes of them, and what they declare for a report."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from fixtures.container.stage import Container
from fixtures.model import chat
from fixtures.model.stage import ModelStage
from harness.host.host import Host
from harness.record.devices import GuestDevice, HostDevice
from harness.record.facts import Kind, Place, Shown, as_json, facts, handle, shown, shown_in
from harness.run.stage import Stage, StageFailed, stage_classes
from reports.texts.texts import LANGUAGES
from tests.unit.mini import SCHEMA
from tests.unit.test_stage import Writes, make_run

SCALARS = (str, int, float, bool, types.NoneType)
# What the file of another program may hold: its parser says what, and `as_json` whether it may.
PARSED = (object, Any)
TOLD_TWICE = {"Guest kernel", "NVIDIA driver"}  # of the image, and by the guest itself


@facts
class Part:
    """Facts within others."""

    name: str = shown("Part", "部件", kind="hardware")
    size: int


@facts
class Whole:
    """Facts with all that there is."""

    live: object = handle()
    kernel: str = shown("Kernel", "内核", kind="system", ephemeral=True)
    seconds: float = shown("Took", "耗时", place="answer", unit="s")
    best: Part
    parts: tuple[Part, ...]
    names: frozenset[str] = frozenset()


WHOLE = Whole(object(), "6.6", 1.5, Part("a", 1), (Part("b", 2), Part("c", 3)), frozenset("ba"))


def test_the_record_has_the_facts_and_no_live_object() -> None:
    assert as_json(WHOLE, "whole") == {
        "kernel": "6.6",
        "seconds": 1.5,
        "best": {"name": "a", "size": 1},
        "parts": [{"name": "b", "size": 2}, {"name": "c", "size": 3}],
        "names": ["a", "b"],
    }


def test_what_is_shown_is_declared_where_the_field_is() -> None:
    label, part = {"en": "Kernel", "zh": "内核"}, {"en": "Part", "zh": "部件"}
    took = {"en": "Took", "zh": "耗时"}
    assert [Shown(**one) for one in shown_in(WHOLE, "whole")] == [
        Shown(label, kind="system", ephemeral=True, field="whole.kernel", value="6.6"),
        Shown(took, place="answer", unit="s", field="whole.seconds", value=1.5),
        Shown(part, kind="hardware", field="whole.best.name", value="a"),
        Shown(part, kind="hardware", field="whole.parts.name", value=["b", "c"]),
    ]


@pytest.mark.parametrize(
    ("value", "where"),
    [
        (Path("/x"), "'f' is of type PosixPath"),
        ({"a": [1, object()]}, r"'f.a\[1\]' is of type object"),
        ({1: "a"}, "'f' is of type dict"),
        (float("nan"), "'f' is of type float"),
        (Part("a", b"1"), "'f.size' is of type bytes"),  # type: ignore[arg-type]
    ],
)
def test_what_is_no_json_is_refused_by_name(value: object, where: str) -> None:
    with pytest.raises(TypeError, match=where):
        as_json(value, "f")


def test_a_stage_whose_facts_are_no_json_fails_and_says_which(local: Host, tmp_path: Path) -> None:
    """The record would otherwise have nothing but where in memory an object was."""
    run = make_run(local, tmp_path, "always")
    stage = Writes(run, tmp_path / "f", "x")
    stage.verify = lambda: dataclasses.replace(WHOLE, kernel=local)  # type: ignore[method-assign, assignment, return-value, arg-type]
    with pytest.raises(StageFailed, match=r"TypeError: 'writes\.kernel' is of type Host") as caught:
        run.stage(stage)
    assert isinstance(caught.value.cause, TypeError)
    with pytest.raises(TypeError, match="'made' is of type Host"):
        run.fact("made", local)
    assert "made" not in run.facts


def _classes() -> Iterator[type]:
    """All that a stage of ours returns, or a fixture puts into the record."""
    stages = stage_classes()
    assert ModelStage in stages, "the last one; it builds upon all others"
    for stage in stages:
        if stage.__module__.startswith("fixtures."):
            (base,) = (b for b in stage.__orig_bases__ if typing.get_origin(b) is Stage)  # type: ignore[attr-defined]
            yield typing.get_args(base)[1]
    yield from (chat.Answer, chat.Streamed)


def _faults(hint: Any, where: str) -> Iterator[str]:
    """Where a type may hold what JSON does not have."""
    inner = typing.get_args(hint)
    if dataclasses.is_dataclass(hint):
        hints = typing.get_type_hints(hint)
        for field in dataclasses.fields(hint):
            if "handle" not in field.metadata:
                yield from _faults(hints[field.name], f"{where}.{field.name}")
    elif typing.get_origin(hint) in (tuple, frozenset, types.UnionType):
        for one in inner:
            yield from () if one is ... else _faults(one, where)
    elif typing.get_origin(hint) is Mapping:
        yield from _faults(inner[1], where)
    elif hint not in (*SCALARS, *PARSED) and typing.get_origin(hint) is not typing.Literal:
        yield f"{where}: {hint}"


@pytest.mark.parametrize("kind", [*_classes()], ids=lambda kind: kind.__name__)
def test_what_stages_return_is_json(kind: type) -> None:
    assert dataclasses.is_dataclass(kind)
    assert not [*_faults(kind, kind.__name__)]


def _labels(hint: Any) -> Iterator[Mapping[str, str]]:
    if dataclasses.is_dataclass(hint):
        hints = typing.get_type_hints(hint)
        for field in dataclasses.fields(hint):
            if (declared := field.metadata.get("shown")) and declared.label:
                yield declared.label
            yield from _labels(hints[field.name])
    for one in typing.get_args(hint):
        yield from _labels(one)


def test_every_label_is_there_in_every_language_and_once() -> None:
    labels = [label for kind in _classes() for label in _labels(kind) if label]
    assert len(labels) > 40
    assert all(label.keys() == {*LANGUAGES} and all(label.values()) for label in labels)
    for language in LANGUAGES:
        names = [label[language] for label in labels]
        twice = {label["en"] for label in labels if names.count(label[language]) > 1}
        assert twice <= TOLD_TWICE | {"GPU", "GPU UUID"}, "of two containers, one without a GPU"


def test_what_is_drawn_are_the_devices_that_the_picture_knows() -> None:
    """Reports read their fields by those of the same classes."""
    known = {"host devices": HostDevice, "guest devices": GuestDevice}
    drawn = {
        declared.place: typing.get_args(typing.get_type_hints(kind)[field.name])[0]
        for kind in _classes()
        for field in dataclasses.fields(kind)
        if (declared := field.metadata.get("shown")) and declared.place in known
    }
    assert drawn.keys() == known.keys()
    assert all(issubclass(drawn[place], kind) for place, kind in known.items())


def test_suites_reach_the_container_by_what_is_no_fact() -> None:
    (live,) = [f.name for f in dataclasses.fields(Container) if "handle" in f.metadata]
    assert live == "host"


def test_the_schema_knows_every_place_and_kind() -> None:
    known = SCHEMA["$defs"]["shown"]["items"]
    assert known["properties"]["place"]["enum"] == [*typing.get_args(Place)]
    assert known["properties"]["kind"]["enum"] == [*typing.get_args(Kind)]
    assert {*known["required"]} == {field.name for field in dataclasses.fields(Shown)}
