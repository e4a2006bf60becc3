"""NVIDIA's programs as recorded: what their words and statuses mean, and what is to be done."""

from __future__ import annotations

import pytest

from fixtures.common.diagnostics import best_hint
from fixtures.container import nvidia_smi
from fixtures.container.toolkit_words import CAUSES
from fixtures.image import environment
from harness.host.command import Result
from tests.unit.kept import PASSED, recorded_smi

NVIDIA = PASSED.parent / "nvidia"


def lines(name: str) -> list[str]:
    return (NVIDIA / name).read_text(encoding="utf-8").splitlines()


CALLS = [line.split(" ") for line in lines("toolkit-1.17.8.txt")]


@pytest.mark.case(
    "NVIDIA",
    "environments of images, and the device that the hook asks for",
    source="nvidia-container-runtime-hook 1.17.8",
)
@pytest.mark.parametrize(("name", "status", "device", "env"), [(*c[:3], c[3:]) for c in CALLS])
def test_an_image_asks_for_a_gpu_where_the_real_hook_asks_for_a_device(
    name: str, status: str, device: str, env: list[str]
) -> None:
    why = environment.no_gpu(env)
    assert (why == "") == (status == "0" and device != "-"), (name, why)
    assert not why or "Dockerfile" in why


@pytest.mark.parametrize(
    ("env", "why"),
    [
        (["NVIDIA_VISIBLE_DEVICES="], "the hook does nothing"),
        (["NVIDIA_VISIBLE_DEVICES=0,void"], "the hook does nothing"),
        (["NVIDIA_VISIBLE_DEVICES=none"], "asks for the driver and no GPU"),
        (["CUDA_VERSION=12", "NVIDIA_REQUIRE_CUDA=cuda>=12"], "where there is no NVIDIA_REQUIRE"),
        (["NVIDIA_VISIBLE_DEVICES=all", "NVIDIA_DRIVER_CAPABILITIES=compute"], "without utility"),
        (["NVIDIA_VISIBLE_DEVICES=all", "NVIDIA_DRIVER_CAPABILITIES=x,utility"], "the unknown x"),
    ],
)
def test_why_an_image_gets_no_gpu_is_told(env: list[str], why: str) -> None:
    assert why in environment.no_gpu(env)


@pytest.mark.parametrize(
    ("capabilities", "wants"),
    [
        ([], True),
        (["="], True),
        (["=all"], True),
        (["=video, compute"], True),
        (["=utility"], False),
    ],
)
def test_who_wants_cuda(capabilities: list[str], wants: bool) -> None:
    env = [f"NVIDIA_DRIVER_CAPABILITIES{value}" for value in capabilities]
    assert environment.wants_compute(env) == wants


ADVICE = {
    "path-set": "'path' is set",
    "with-cgroups-none-mounted": "no-cgroups = true",
    "cgroup-v2-without-a-filter": "no-cgroups = true",
    "ldconfig-of-the-container": "@/sbin/ldconfig",
    "ldconfig-missing": "@/sbin/ldconfig",
    "config-no-toml": "config.toml is wrong",
    "no-cli": "libnvidia-container-tools",
    "unknown-capability": "NVIDIA_DRIVER_CAPABILITIES",
    "no-config-json": "kata's agent",
    "no-rootfs": "kata's agent",
    "cli-fails": "nvidia.ko was not loaded",
    "cuda-compat-mode": "of two versions",
    "no-ldcache": "no loader's cache",
    "no-library-configure": "kata-containers #5594",
    "node-of-gpu-missing": "made no node",
    "require-not-met": "asks for a later driver",
    "require-nonsense": "no such expression",
    "rootfs-read-only": "read-only",
    "unknown-device": "set it to all",
}
SAYS = dict(line.split("\t", 1) for line in lines("toolkit-says.txt"))


def test_all_that_is_recorded_has_its_advice() -> None:
    assert SAYS.keys() == ADVICE.keys()


@pytest.mark.case(
    "NVIDIA",
    "what hook and CLI say when they fail",
    source="NVIDIA's hook 1.17.8, CLI 1.15.0; libnvidia-container #209, kata-containers #10457",
)
@pytest.mark.parametrize("name", ADVICE)
def test_what_the_hook_says_leads_to_its_cause(name: str) -> None:
    assert ADVICE[name] in best_hint(SAYS[name], CAUSES, "")


@pytest.mark.case(
    "NVIDIA", "nvidia-smi without a driver, in each of its forms", source="nvidia-smi 535.309.01"
)
@pytest.mark.parametrize(("name", "status", "said"), recorded_smi())
def test_a_failure_of_nvidia_smi_is_told_by_its_status_in_every_form(
    name: str, status: int, said: str
) -> None:
    found = nvidia_smi.read(Result(("nvidia-smi",), status, said, "", 0.1, len(said), 0))
    assert found.gpus == ()
    other = {9: "the driver is not loaded", 12: "is not installed in the container"}
    assert other[status] in found.meaning
    assert said.splitlines()[0] in found.meaning
    assert not any(words in found.meaning for key, words in other.items() if key != status)


@pytest.mark.case(
    "NVIDIA",
    "[N/A], ERR!, [Insufficient Permissions] of lost, reset and MIG devices",
    source="StableSwarmUI #388, unsloth #10703",
)
@pytest.mark.parametrize(
    "word", ["[N/A]", "[Insufficient Permissions]", "ERR!", "[GPU requires reset]"]
)
def test_what_a_gpu_does_not_tell_is_no_value(word: str) -> None:
    # Lost, reset and MIG devices, as public reports show them.
    gpu = nvidia_smi.parse(
        f"580.1, {word}, {word}, 00000000:01:00.0, 0x1, {word}, 0, {word}, {word}"
    )
    assert (gpu.name, gpu.uuid, gpu.memory_total, gpu.ecc) == (None, None, None, None)
