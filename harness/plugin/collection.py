"""What is wrong with fixtures and suites, told at collection: before anything is touched."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from difflib import get_close_matches
from math import inf
from typing import Any

import pytest

from harness.run.background import Definition, Early

Definitions = Mapping[str, Sequence[pytest.FixtureDef[Any]]]

SCOPES = ("function", "class", "module", "package", "session")  # the widest last


def definitions(item: pytest.Item) -> Definitions:
    """All fixtures that an item needs, by name; of each the definition that holds comes last."""
    info = getattr(item, "_fixtureinfo", None)
    return {} if info is None else info.name2fixturedefs


def early_fixtures(items: Sequence[pytest.Item]) -> dict[Definition, list[Definition]]:
    """The early fixtures that these tests need, each with its arguments' definitions."""
    found = {}
    for item in items:
        known = definitions(item)
        for chain in known.values():
            if isinstance(chain[-1].func, Early):
                found[chain[-1]] = [known[name][-1] for name in chain[-1].argnames]
    return found


def check(items: Sequence[pytest.Item]) -> None:
    """Check the acceptance tests that are about to run; UsageError has a line for every fault."""
    names = {name for item in items for name in definitions(item)}
    faults: dict[str, None] = {}  # a set that keeps its order: many tests share a fault
    for item in items:
        faults |= dict.fromkeys(_missing(item, names))
        faults |= dict.fromkeys(_cycles(item))
        faults |= dict.fromkeys(_scopes(item))
    faults |= dict.fromkeys(_order(items))
    if faults:
        raise pytest.UsageError(*faults)


def _missing(item: pytest.Item, names: Collection[str]) -> Iterator[str]:
    known = definitions(item)
    needs = {f"Fixture '{name}'": chain[-1].argnames for name, chain in known.items()}
    through = {name for names in needs.values() for name in names}
    direct = [name for name in getattr(item, "fixturenames", ()) if name not in through]
    for who, asked in {item.nodeid: direct, **needs}.items():
        for name in asked:
            if name not in known and name != "request":
                close = get_close_matches(name, names, 1)
                meant = f"; is '{close[0]}' meant?" if close else "."
                yield f"{who} needs fixture '{name}', and there is none by that name{meant}"


def _cycles(item: pytest.Item) -> Iterator[str]:
    known = definitions(item)
    cleared: set[str] = set()

    def walk(name: str, path: list[str]) -> Iterator[str]:
        if name in path:
            loop = path[path.index(name) :]
            first = loop.index(min(loop))  # the same words, wherever the walk came in
            around = [*loop[first:], *loop[:first], loop[first]]
            yield f"Fixtures need each other: {' -> '.join(around)}."
        elif name not in cleared:
            for need in known[name][-1].argnames if name in known else ():
                overridden = need == name and len(known[name]) > 1
                if not overridden:
                    yield from walk(need, [*path, name])
            cleared.add(name)

    for name in known:
        yield from walk(name, [])


def _scopes(item: pytest.Item) -> Iterator[str]:
    known = definitions(item)
    for name, chain in known.items():
        scope = chain[-1].scope
        if "run" in chain[-1].argnames and scope != "session":
            yield (
                f"Fixture '{name}' takes 'run', as a stage does, and has scope '{scope}'; a stage"
                ' happens once a run: @pytest.fixture(scope="session").'
            )
        for need in chain[-1].argnames:
            narrow = known[need][-1].scope if need in known else "session"
            if SCOPES.index(narrow) < SCOPES.index(scope):
                yield (
                    f"Fixture '{name}' has scope '{scope}' and needs '{need}', which has scope"
                    f" '{narrow}' and ends before it."
                )


def _order(items: Sequence[pytest.Item]) -> Iterator[str]:
    """A stage's own suite is the one with the mark of its name; it comes before what builds on it.

    Were it the other way round, a broken stage would first be told by a suite of another name.
    """
    suites: dict[str, pytest.Item] = {}  # a stage's name -> the first test of its own suite
    for item in sorted(items, key=_number):
        for mark in item.iter_markers():
            suites.setdefault(mark.name, item)
    told = set()
    for item in items:
        for stage in definitions(item):
            own = suites.get(stage)
            if own is None or item.get_closest_marker(stage) or _number(own) <= _number(item):
                continue
            pair = (item.path, own.path)
            if pair not in told:
                told.add(pair)
                yield (
                    f"{item.nodeid} ({_said(item)}) builds on stage '{stage}', whose own suite"
                    f" would run after it: {own.nodeid} ({_said(own)})."
                )


def _number(item: pytest.Item) -> float:
    """pytest-order's; what has none, or one that counts from the end, runs last."""
    mark = item.get_closest_marker("order")
    number = mark.args[0] if mark is not None and mark.args else inf
    return number if isinstance(number, int) and number >= 0 else inf


def _said(item: pytest.Item) -> str:
    number = _number(item)
    return "no order" if number == inf else f"order {number}"
