"""The plan of a run (`--plan`), from the profile and the command line alone.

Nothing is connected to, so whether something durable can be reused is not known yet: that is for
its inputs on the host to say.
"""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator, Sequence
from functools import partial
from itertools import pairwise
from typing import Any

import pytest

from harness.plugin.options import Choices
from harness.profile.schema import BaseProfile
from harness.record.masking import Masker
from harness.run.stage import Provision, Stage, stage_classes

Stages = Sequence[type[Stage[Any, Any]]]

_HOW: dict[Provision, tuple[str, str]] = {  # transient, durable
    "auto": ("undone at the end", "kept; reused if an earlier run made it of the same inputs"),
    "always": ("undone at the end", "kept; made anew"),
    "never": ("only verified", "only verified"),
}


def text(tests: int, stages: Stages, profile: BaseProfile, provision: Provision) -> str:
    """The plan for so many tests and their stages, masked."""
    mask = Masker(profile.secret_values(os.environ))
    return mask.text("\n".join(_lines(tests, stages, profile, provision)))


def heading(profile: BaseProfile, run: str, items: Sequence[pytest.Item], how: Choices) -> str:
    """Which lab a run is on, how much it is, and what becomes of the lab."""
    target = profile.target
    where = target.address or {"local": "this very machine"}.get(target.kind, "a virtual lab")
    stages = asked(items)
    return (
        f"\nlab {profile.name} ({where}), run {run}: {len(items)} tests, {len(stages)} stages\n"
        "what is real in it and what a stand-in, the run finds out; the verdict says it\n"
        f"{_what_becomes(stages, how)} (--plan lists it, stage by stage)"
    )


def asked(items: Sequence[pytest.Item]) -> Stages:
    """The stages that some tests need, in no order; a stage has its fixture's name."""
    names = {name for item in items for name in getattr(item, "fixturenames", ())}
    return [stage for stage in stage_classes() if stage.name in names]


def _what_becomes(stages: Stages, how: Choices) -> str:
    if how.provision == "never":
        return "nothing is made on the host, only looked at"
    if how.keep == "always":
        return "what is changed on the host stays (--keep always)"
    kept = "" if how.restore else " and ".join(stage.name for stage in stages if stage.durable)
    later = f"; kept for later runs: {kept}" if kept else ""
    unless = ", unless a test fails (--keep on-failure)" if how.keep == "on-failure" else ""
    return f"what is changed on the host is put back at the end{unless}{later}"


def _lines(tests: int, stages: Stages, profile: BaseProfile, provision: Provision) -> Iterator[str]:
    yield (
        f"Plan for profile '{profile.name}' (target '{profile.target.kind}'):"
        f" {tests} tests, {len(stages)} stages. Nothing is connected to, nothing is changed."
    )
    for number, stage in enumerate(stages, 1):
        changes = list(stage.plan(profile))
        how = _HOW[provision][stage.durable] if changes else "changes nothing"
        yield f"{number}. {stage.name} ({how})"
        yield from (f"   - {change}" for change in changes)


def stages_of(config: pytest.Config, items: Sequence[pytest.Item]) -> Stages:
    """The stages behind some tests' fixtures, in the order in which pytest would make them.

    A stage has its fixture's name. A test whose fixtures cannot be made is an error of pytest's.
    """
    known = {stage.name: stage for stage in stage_classes()}
    setups = _Setups()
    # pytest's --setup-plan: every fixture has its turn, and none is made.
    config.option.setupplan = True
    config.pluginmanager.register(setups)
    for item, following in pairwise([*items, None]):
        assert item is not None
        set_up = partial(item.ihook.pytest_runtest_setup, item=item)
        call = pytest.CallInfo.from_call(set_up, "setup", reraise=(KeyboardInterrupt,))
        report = item.ihook.pytest_runtest_makereport(item=item, call=call)
        if report.failed:
            item.ihook.pytest_runtest_logreport(report=report)
        item.ihook.pytest_runtest_teardown(item=item, nextitem=following)
    config.pluginmanager.unregister(setups)
    return [known[name] for name in setups.names if name in known]


class _Setups:
    """A plugin that notes the fixtures, what others need first."""

    def __init__(self) -> None:
        self.names: dict[str, None] = {}

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(
        self, fixturedef: pytest.FixtureDef[Any]
    ) -> Generator[None, object, object]:
        """Note one that has had its turn."""
        result = yield
        self.names[fixturedef.argname] = None
        return result
