"""What a run sees of the guide's parts, stage by stage."""

from __future__ import annotations

import pytest

from fixtures.common import parts
from tests.unit.stages.lab import Lab
from tests.unit.stages.server import JSON, Server

STAND_INS = {
    *("IOMMU", "kata shim", "kata runtime", "kata agent", "GPU", "nvidia-container-cli"),
    *("NVIDIA driver", "nvidia-smi", "vLLM", "model"),
}


def states(lab: Lab) -> dict[str, str]:
    return {part.name: part.state for part in parts.seen(lab.run)}


def test_a_run_sees_every_part(passed: Lab) -> None:
    assert states(passed) == {
        name: "stand-in" if name in STAND_INS else "real" for name in parts.PARTS
    }
    *_, last = [e for e in passed.events("fact") if e["name"] == parts.FACT]
    assert {part["name"]: part["state"] for part in last["value"]} == states(passed)
    assert all(part["says"] for part in last["value"])


def test_nothing_is_seen_before_a_stage_has_looked(lab: Lab) -> None:
    assert {*states(lab).values()} == {"not seen"}
    lab.bring("platform")
    seen = [name for name, state in states(lab).items() if state != "not seen"]
    assert seen == ["kernel", "IOMMU", "docker", "containerd", "kata shim"]


# What a stage's command answers instead; a look that fails makes no part real, nor a stand-in.
FAILS = [
    ("platform", ("docker version",), {"status": 1, "err": "permission denied"}, "docker"),
    ("platform", ("systemd-detect-virt",), {"status": 127, "err": "sh: not found"}, "IOMMU"),
    ("platform", ("-v2 --version",), {"status": 1, "err": "Killed"}, "kata shim"),
    ("rootfs", ("rpm --version",), {"status": 127}, "rootfs tools"),
    ("rootfs", ("grep -aoE", "-runtime-hook"), {"status": 2, "err": "none"}, "NVIDIA's hook"),
    ("rootfs", ("grep -aoE", "-container-cli"), {"status": 1}, "nvidia-container-cli"),
    ("network", ("grep -aoE",), {"out": "CNI bridge plugin v1\n"}, "cnitool"),
    ("network", ("grep -aoE",), {"out": "\n"}, "CNI plugins"),
    ("container", ("agent-",), {}, "kata agent"),
]


@pytest.mark.parametrize(("stage", "texts", "reply", "name"), FAILS)
def test_a_look_that_fails_says_nothing(
    lab: Lab, stage: str, texts: tuple[str, ...], reply: dict[str, object], name: str
) -> None:
    lab.host.reply(*texts, **reply)  # type: ignore[arg-type]
    lab.bring(stage)
    assert states(lab)[name] == "not seen"


# As a real one answers.
REAL = [
    ("platform", ("systemd-detect-virt",), {"status": 1, "out": "none\n"}, "IOMMU"),
    (
        "rootfs",
        ("grep -aoE", "-container-cli"),
        {"out": "cli-version: %s\n"},
        "nvidia-container-cli",
    ),
    ("kata", ("kata-runtime --version",), {"out": "kata-runtime  : 3.15.0\n"}, "kata runtime"),
    ("container", ("agent-",), {"out": "agent-version 3.15.0\nversion 0.1.0\n"}, "kata agent"),
]


@pytest.mark.parametrize(("stage", "texts", "reply", "name"), REAL)
def test_a_real_one_is_told(
    lab: Lab, stage: str, texts: tuple[str, ...], reply: dict[str, object], name: str
) -> None:
    lab.host.reply(*texts, **reply)  # type: ignore[arg-type]
    lab.bring(stage)
    assert states(lab)[name] == "real"


def test_a_gpu_of_nvidias_is_told(ready: Lab) -> None:
    ready.host.edit("for d in /sys/bus/pci/devices", old="0x1af4\t0x1043", new="0x10de\t0x2331")
    config = ready.run.profile.gpu.model_copy(update={"vendor": "10de"})
    object.__setattr__(ready.run.profile, "gpu", config)
    ready.bring("gpu")
    assert states(ready)["GPU"] == "real"


def test_a_model_server_that_hides_nothing_is_told(
    lab: Lab, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.lead_to(lab.host)
    server.answers["/version"] = (200, JSON, b'{"version":"0.24.0"}')
    lab.bring("model")
    assert states(lab)["vLLM"] == "real"
