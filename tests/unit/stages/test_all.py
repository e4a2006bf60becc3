"""All stages in the guide's order, on the recorded host: they find what the recorded run found."""

from __future__ import annotations

import pytest

from fixtures.container.lifecycle import REMOVE
from tests.unit.stages.lab import STAGES, Lab, planned, record

# Of this machine, or of the clock, or not in the record yet.
OTHER = {
    "rootfs": {"license", "uvm", "firmware", "kernel_options"},
    "platform": {"containerd_level", "kata_shim_says", "kata_conf_file"},
    "kata": {"drop_ins", "shared_memory"},
    "model": {"base_url", "ready_seconds"},
    "container": {"host", "links"},  # causes have other words now, and the guest nvidia-uvm
    "bare_container": {"server_rc", "server_says"},
}
# A change that the record may be too old for.
NEW = ("folders /run/netns, /var/lib/cni, /var/lib/cni/networks, /var/lib/cni/results",)
# The record is of before it was the last of its stage's; `test_image.py` says why it has to be.
MOVED = ("job 'image-build'",)


@pytest.mark.parametrize("name", STAGES)
def test_a_stage_finds_the_recorded_facts(passed: Lab, name: str) -> None:
    [event] = [e for e in passed.events("stage") if e["name"] == name and e["state"] == "ok"]
    found, recorded = event["facts"], record().facts[name]
    other = OTHER.get(name, set())
    assert {k: v for k, v in found.items() if k not in other} == {
        k: v for k, v in recorded.items() if k not in other
    }


@pytest.mark.parametrize("name", STAGES)
def test_a_stage_writes_down_the_recorded_changes(passed: Lab, name: str) -> None:
    made = [e["what"] for e in passed.events("change") if _of(e["stage"], name)]
    recorded = [change["what"] for change in record().changes if _of(change["stage"], name)]
    kept = [what for what in made if what not in NEW or what in recorded]
    assert sorted(kept) == sorted(recorded)
    assert [what for what in kept if what not in MOVED] == [
        what for what in recorded if what not in MOVED
    ]


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


@pytest.mark.parametrize("name", STAGES)
def test_a_plan_says_what_is_changed_without_a_host(name: str, passed: Lab) -> None:
    lines = planned(name, passed)
    changes = [c for c in passed.events("change") if _of(c["stage"], name)]
    assert bool(lines) == bool(changes)
    assert all(line and "\n" not in line for line in lines)


def _of(stage: str, name: str) -> bool:
    """Whether a change is a stage's; jobs and checks of rootfs have names of their own."""
    return stage == name or (name == "rootfs" and stage.startswith("rootfs-"))
