"""The suites on a virtual lab that stays up: all pass, what lasts is reused, no trace is left."""

import os
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.conftest import Shown
from tests.sweep.kill import kill
from tests.vlab.lab import ROOT, Finished, Lab, pass_on
from vlab import faults
from vlab.faults import on_lab

pytestmark = pytest.mark.timeout(3600)

STAGES = ("platform", "rootfs", "kata", "image", "gpu", "network", "container", "guest", "model")


def test_every_suite_passes(whole_run: Finished) -> None:
    tests = whole_run.events("test")
    assert {e["nodeid"] for e in tests if e["outcome"] in ("failed", "error")} == set()
    assert whole_run.status == 0, whole_run.output[-3000:]


def test_nothing_is_skipped_but_what_an_emulated_host_cannot_show(whole_run: Finished) -> None:
    clauses = whole_run.events("fact", name="guide")[0]["value"]["clauses"]
    excused = {c["id"] for c in clauses if "vlab" in c.get("not_assessed", {})}
    skipped = whole_run.events("test", outcome="skipped")
    assert [e["message"] for e in skipped if not e["message"].startswith("not assessed: ")] == []
    assert {e["nodeid"]: e["clauses"] for e in skipped if not excused & {*e["clauses"]}} == {}
    assert {"platform.tee", "platform.tee-passthrough"} <= {
        c for e in skipped for c in e["clauses"]
    }


def test_every_stage_was_provisioned(whole_run: Finished) -> None:
    done = {event["name"] for event in whole_run.events("stage", state="ok", how="provisioned")}
    assert done >= set(STAGES)


def test_the_guest_image_is_of_the_days_layout(whole_run: Finished, partitioned: bool) -> None:
    (stage,) = whole_run.events("stage", name="rootfs", state="ok")
    assert stage["facts"]["layout"].startswith("partition 1 ") == partitioned


def test_a_whole_group_is_unbound_and_given_back(whole_run: Finished) -> None:
    (stage,) = whole_run.events("stage", name="gpu", state="ok")
    assert sorted(stage["facts"]["before"].values()) == ["snd_hda_intel", "virtio-pci"]
    back = whole_run.events("undo", stage="gpu", outcome="undone")
    assert any("snd_hda_intel" in event["what"] for event in back)


def test_the_record_has_the_answer(whole_run: Finished) -> None:
    (fact,) = whole_run.events("fact", name="answer")
    assert "机密容器" in fact["value"]["text"]


def test_the_stand_ins_are_in_the_record(whole_run: Finished) -> None:
    *_, parts = whole_run.events("fact", name="parts")
    states = {part["name"]: part["state"] for part in parts["value"]}
    assert not [name for name, state in states.items() if state == "not seen"]
    for name in ("IOMMU", "GPU", "NVIDIA driver", "nvidia-smi", "nvidia-container-cli", "vLLM"):
        assert states[name] == "stand-in"
    for name in ("kernel", "docker", "NVIDIA's hook", "vfio", "cnitool", "guest kernel"):
        assert states[name] == "real"


def test_every_change_was_taken_back(whole_run: Finished) -> None:
    undone = whole_run.events("undo")
    assert {event["stage"] for event in undone} >= {"kata", "gpu", "network", "container"}
    assert not [event for event in undone if event["outcome"] == "failed"]


def test_nothing_is_left_that_no_undo_knows_of(whole_run: Finished) -> None:
    (noted,) = whole_run.events("fact", name="fingerprint")
    assert noted["value"]["not read"] == []
    assert [event["value"] for event in whole_run.events("fact", name="left")] == [[]]


def test_a_run_changes_nothing_that_git_sees(whole_run: Finished) -> None:
    status = subprocess.run(
        ["git", "status", "--porcelain", "--", "reports", "profiles", "suites", "fixtures"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "??" not in status.stdout


def test_the_host_is_as_it_was(before: list[str], after: list[str]) -> None:
    assert after == before


def test_a_second_run_reuses_what_is_durable(second_run: Finished) -> None:
    assert second_run.status == 1, second_run.output[-3000:]  # for the lab's own test that fails
    how = {event["name"]: event["how"] for event in second_run.events("stage", state="ok")}
    assert {name for name in how if how[name] == "reused"} == {"rootfs", "image"}


def test_a_labs_own_tests_run_after_the_others(second_run: Finished) -> None:
    tests = [event for event in second_run.events("test") if event["outcome"] != "skipped"]
    names = [event["nodeid"].rpartition("::")[2] for event in tests]
    own = ["test_own_containerd", "test_own_files", "test_own_network", "test_own_that_fails"]
    assert names[-4:] == own
    outcomes = {event["nodeid"]: event["outcome"] for event in tests}
    wrong = {nodeid: outcome for nodeid, outcome in outcomes.items() if outcome != "passed"}
    assert [*wrong.values()] == ["failed"], wrong
    assert tests[-1]["outcome"] == "failed"
    assert "it was looked at" in tests[-1]["message"]


def test_the_host_is_as_it_was_again(
    before: list[str], second_run: Finished, kept_lab: Lab
) -> None:
    assert kept_lab.fingerprint() == before


# A text of a change, by stage; `tox -e kill-sweep` kills at every change. Those of the stages that
# need no other, each day; of the others one, which takes some minutes.
KILLED = {"gpu": "bind 0000:", "network": "cnitool add"}
IN_TURN = {
    "kata": "[kata] change ",
    "rootfs": "[rootfs] mount ",
    "container": "[container] ctr run ",
    "image": "[image] docker build ",
    "model": "[model] job 'model-server'",
}


def today() -> int:
    """The number of this day."""
    return datetime.now(UTC).date().toordinal()


def killed() -> dict[str, str]:
    """The changes of this day's kills; KILLED names other stages, with commas."""
    turn = [*IN_TURN][today() % len(IN_TURN)]
    named = [name for name in os.environ.get("KILLED", "").split(",") if name]
    return {name: (KILLED | IN_TURN)[name] for name in named or [*KILLED, turn]}


@pytest.mark.parametrize(("stage", "change"), killed().items(), ids=killed())
def test_of_a_run_that_was_killed_nothing_is_left(
    kept_lab: Lab, shown: Shown, tmp_path: Path, stage: str, change: str
) -> None:
    seen = tmp_path / "seen"
    anew = ["--provision", "always"] if stage in ("rootfs", "image") else []
    with shown():
        killed = kill(kept_lab, f"acceptance and {stage}", seen, change, anew)
    assert change in killed.change, killed.run.output[-3000:]
    assert killed.left == ()
    assert killed.recovered == 0


def sampled() -> list[faults.Fault]:
    """Two of the catalogue's faults, each day others; FAULTS names others, with commas."""
    known = [fault for fault in faults.load() if fault.lab is not None]
    named = os.environ.get("FAULTS", "").split(",")
    return [f for f in known if f.name in named] or on_lab.sample(known, 2, today())


def test_without_the_device_the_gpu_stage_fails(run_without_gpu: Finished) -> None:
    assert run_without_gpu.status == 1
    (failed,) = run_without_gpu.events("stage", state="failed")
    assert failed["name"] == "gpu"
    assert "no GPU to pass through" in failed["error"]
    assert "lspci" in failed["error"], "the message says where to look"


def test_without_the_device_what_depends_on_it_is_skipped(run_without_gpu: Finished) -> None:
    outcomes = run_without_gpu.outcomes()
    assert list(outcomes.values()).count("error") == 1, "one error for one cause"
    dependent = {n: o for n, o in outcomes.items() if "test_model" in n}
    assert dependent
    assert set(dependent.values()) == {"skipped"}
    assert 'stage "gpu" failed: no GPU to pass through' in run_without_gpu.output


# The last: `tox -e faults` has all of them.
def test_a_sample_of_faults_is_caught(
    kept_lab: Lab, run_without_gpu: Finished, shown: Shown
) -> None:
    wanted = sampled()
    with shown():
        pass_on(f"FAULTS={','.join(fault.name for fault in wanted)}")
        found = [*on_lab.each(wanted, kept_lab.machine.name, pass_on)]
        pass_on("\n".join(map(str, found)))
    assert [one.why for one in found] == [[]] * len(wanted)
