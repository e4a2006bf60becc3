"""All stages in the guide's order, on the recorded host: they find what the recorded run found."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from fixtures.container.lifecycle import REMOVE
from harness.host.host import NEEDED
from harness.host.programs import KNOWN, advice
from harness.run.stage import StageFailed, stage_classes
from tests.unit.stages.conftest import MakeLab
from tests.unit.stages.lab import STAGES, Lab, planned, record

# Of this machine, or of the clock; of more programs than were looked for then, and of later fields.
OTHER = {
    "gpu": {"switches"},
    "model": {"base_url", "ready_seconds", "idle"},
    "rootfs": {"programs"},
}


@pytest.mark.parametrize("name", STAGES)
def test_a_stage_finds_the_recorded_facts(passed: Lab, name: str) -> None:
    [event] = [e for e in passed.events("stage") if e["name"] == name and e["state"] == "ok"]
    found, recorded = event["facts"], record().facts[name]
    other = OTHER.get(name, set())
    assert {k: v for k, v in found.items() if k not in other} == {
        k: v for k, v in recorded.items() if k not in other
    }


def test_nothing_stood_in_the_way_of_the_recorded_run(passed: Lab) -> None:
    assert passed.facts["platform"].foreseen == ()


@pytest.mark.parametrize("name", STAGES)
def test_a_stage_writes_down_the_recorded_changes(passed: Lab, name: str) -> None:
    """But for identities, which are written down by now as well."""

    def plain(changes: Sequence[Mapping[str, Any]]) -> list[str]:
        what = [change["what"] for change in changes if _of(change["stage"], name)]
        return [w.partition(" (inode ")[0] for w in what if " image sha256:" not in w]

    assert plain(passed.events("change")) == plain(record().changes)


def test_every_change_can_be_undone(passed: Lab) -> None:
    """A way back for each, by commands of which none is empty."""
    assert passed.run.journal.entries
    for entry in passed.run.journal.entries:
        assert entry.undo, entry.what
        assert all(argv and argv[0] for argv in entry.undo), entry.what


def test_the_control_without_a_device_is_gone_before_the_model_starts(passed: Lab) -> None:
    lines = [" ".join(words) for words in passed.host.asked]
    bare = f"arch-bare-{passed.run.id}"
    removed = next(i for i, line in enumerate(lines) if REMOVE in line and bare in line)
    assert removed < next(i for i, line in enumerate(lines) if "-model-server " in line)
    assert not [line for line in lines[removed + 1 :] if bare in line]


PROGRAMS = {s.name: s.host_programs.split() for s in stage_classes() if s.name in STAGES}
NEEDING = [(name, program) for name in STAGES for program in PROGRAMS[name]]


@pytest.mark.case(
    "host",
    "python3 or qemu-img that is missing, found after the first change",
    source="kata-containers #11122",
)
@pytest.mark.parametrize(("name", "program"), NEEDING)
def test_a_stage_does_not_begin_without_a_program(
    make_lab: MakeLab, name: str, program: str
) -> None:
    lab = make_lab()
    lab.host.without = {program}
    with pytest.raises(StageFailed) as caught:
        lab.bring(name)
    assert f"'lab' lacks programs that are needed: {program}." in caught.value.message
    assert caught.value.hint == advice([program])
    assert not lab.journal()
    assert not lab.host.written


def test_platform_names_the_programs_of_all_stages(make_lab: MakeLab) -> None:
    lab = make_lab()
    lab.host.without = {"qemu-img", "ctr", "xyz"}
    assert lab.bring("platform").lacking == {
        "bare_container": ("ctr",),
        "container": ("ctr",),
        "image": ("ctr",),
        "rootfs": ("qemu-img",),
        "soak": ("ctr",),
    }


# A word where a command begins, in a script.
COMMAND = re.compile(
    r"(?:^|[;|&({]|\b(?:do|then|else|if|while|until|exec)\b|!)\s*([a-z][\w-]*)", re.M
)
# Commands that lead to another one, and how many words they have of their own.
LEADS = {"env": 0, "timeout": 3}


def called(argv: Sequence[str]) -> set[str]:
    """The programs with a package, coreutils excepted, that a command line calls on the host."""
    words = list(argv)
    while words and (words[0] in LEADS or "=" in words[0] or words[0].startswith("-")):
        words = words[1 + LEADS.get(words[0], 0) :]
    if not words:
        return set()
    found = {words[0]}
    if words[0] == "sh":
        found |= {*COMMAND.findall(words[2])}
        if "$@" in words[2]:  # a job's command, behind the script's own words
            rest = words[4:]
            while rest and rest[0] not in KNOWN:
                rest = rest[1:]
            found |= called(rest)
    elif words[0] == "nsenter":
        found |= called(words[words.index("--") + 1 :])
    return {name for name in found & KNOWN if advice([name]) != "install coreutils"}


# Of the harness itself: the handshake asks for some; the rest is behind a test for systemd.
OPTIONAL = {"git"}  # for a build context that is a checkout
# Where the guest is in a container; where it is the target itself, these need no ctr.
INSIDE = {"guest": {"ctr"}, "model": {"ctr"}}
HARNESS = {*NEEDED.split(), "systemctl", "systemd-run", "sed"}


@pytest.mark.parametrize("name", [name for name in STAGES if name != "platform"])  # it judges
def test_every_program_that_a_stage_calls_is_declared(passed: Lab, name: str) -> None:
    """Looking before a stage begins is worth as much as its declaration is whole."""
    lines = [event["argv"] for event in passed.events("command") if event["stage"] == name]
    undo = [argv for e in passed.run.journal.entries if _of(e.stage, name) for argv in e.undo]
    asked = {program for argv in (*lines, *undo) for program in called(argv)}
    assert asked - HARNESS - OPTIONAL - INSIDE.get(name, set()) <= {*PROGRAMS[name]}


@pytest.mark.parametrize("name", STAGES)
def test_a_plan_says_what_is_changed_without_a_host(name: str, passed: Lab) -> None:
    lines = planned(name, passed)
    changes = [c for c in passed.events("change") if _of(c["stage"], name)]
    assert bool(lines) == bool(changes)
    assert all(line and "\n" not in line for line in lines)


def _of(stage: str, name: str) -> bool:
    """Whether a change is a stage's; jobs and checks of rootfs have names of their own."""
    return stage == name or (name == "rootfs" and stage.startswith("rootfs-"))
