"""What a run would do (`--plan`), told from the profile and the command line alone.

Nothing is connected to, so whether something durable can be reused is not known yet: that is for
its inputs on the host to say.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import pytest

from harness.plugin.collection import Definitions, definitions
from harness.profile.schema import BaseProfile
from harness.record.masking import Masker
from harness.run.stage import Provision, Stage

_HOW: dict[Provision, tuple[str, str]] = {  # transient, durable
    "auto": ("undone at the end", "kept; reused if an earlier run made it of the same inputs"),
    "always": ("undone at the end", "kept; made anew"),
    "never": ("only verified", "only verified"),
}


def text(items: Sequence[pytest.Item], profile: BaseProfile, provision: Provision) -> str:
    """The plan for the selected tests, stages in the order in which they come about; masked."""
    mask = Masker(profile.secret_values(os.environ))
    return mask.text("\n".join(_lines(items, profile, provision)))


def _lines(
    items: Sequence[pytest.Item], profile: BaseProfile, provision: Provision
) -> Iterator[str]:
    stages = stages_of(items)
    yield (
        f"Plan for profile '{profile.name}' (target '{profile.target.kind}'):"
        f" {len(items)} tests, {len(stages)} stages. Nothing is connected to, nothing is changed."
    )
    for number, stage in enumerate(stages, 1):
        changes = list(stage.plan(profile))
        how = _HOW[provision][stage.durable] if changes else "changes nothing"
        yield f"{number}. {stage.name} ({how})"
        yield from (f"   - {change}" for change in changes)


def stages_of(items: Iterable[pytest.Item]) -> list[type[Stage[Any, Any]]]:
    """The stages that stand behind some tests' fixtures; a stage has its fixture's name."""
    known = {stage.name: stage for stage in stage_classes()}
    names: dict[str, None] = {}
    for item in items:
        defs = definitions(item)
        for name in item.fixturenames:  # type: ignore[attr-defined]
            names |= dict.fromkeys(_chain(name, defs))
    return [known[name] for name in names if name in known]


def _chain(name: str, defs: Definitions) -> Iterator[str]:
    """A fixture with all that it needs, what comes first first."""
    if name in defs:
        for needed in defs[name][-1].argnames:
            if needed != name:
                yield from _chain(needed, defs)
        yield name


def stage_classes() -> list[type[Stage[Any, Any]]]:
    """Every stage that has been imported."""
    return [stage for stage in _all(Stage) if hasattr(stage, "name")]  # type: ignore[type-abstract]


def _all(kind: type[Stage[Any, Any]]) -> Iterator[type[Stage[Any, Any]]]:
    for child in kind.__subclasses__():
        yield child
        yield from _all(child)
