"""What the stages decide by themselves, without a lab."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from fixtures.gpu import GpuStage, PciDevice
from fixtures.model import messages
from fixtures.platform import PlatformStage, version
from fixtures.schema import Gpu as WantedGpu
from fixtures.schema import Model as WantedModel
from harness.errors import LabError
from harness.stage import Run

BRIDGE = PciDevice("0000:00:1c.0", "8086", "a110", "0604", "7", "pcieport")
CARD = PciDevice("0000:01:00.0", "10de", "20f1", "0302", "7", "nvidia")
SOUND = PciDevice("0000:01:00.1", "10de", "1aef", "0403", "7", "snd_hda_intel")
OTHER = PciDevice("0000:02:00.0", "10de", "20f1", "0302", "8", "-")


def run_with(**sections: object) -> Run:
    """A run of which only the profile and the host's name are asked."""
    return cast(
        Run, SimpleNamespace(host=SimpleNamespace(name="lab"), profile=SimpleNamespace(**sections))
    )


class Bus(GpuStage):
    """The stage over a given PCI bus."""

    def __init__(self, wanted: WantedGpu, *devices: PciDevice) -> None:
        super().__init__(run_with(gpu=wanted))
        self.bus = list(devices)

    def devices(self) -> list[PciDevice]:
        return self.bus


def test_a_gpu_is_found_by_vendor_and_class_and_not_by_name() -> None:
    assert Bus(WantedGpu(), BRIDGE, SOUND, CARD, OTHER).select() == CARD


def test_a_gpu_can_be_named_by_its_address() -> None:
    assert Bus(WantedGpu(bdf=OTHER.bdf), BRIDGE, CARD, OTHER).select() == OTHER


def test_the_whole_group_but_its_bridges_is_bound() -> None:
    assert Bus(WantedGpu(), BRIDGE, CARD, SOUND, OTHER).members(CARD) == (CARD, SOUND)


def test_no_gpu_is_an_error_that_says_what_was_looked_for() -> None:
    with pytest.raises(LabError, match="vendor 10de, class 0300 or 0302") as caught:
        Bus(WantedGpu(), BRIDGE, SOUND).select()
    assert caught.value.hint is not None
    assert "lspci" in caught.value.hint


def test_a_gpu_without_a_group_is_refused() -> None:
    lone = PciDevice("0000:01:00.0", "10de", "20f1", "0302", "-", "-")
    with pytest.raises(LabError, match="in no IOMMU group"):
        Bus(WantedGpu(), lone).select()


def test_the_shims_name_follows_containerds_rule() -> None:
    run = run_with(kata=SimpleNamespace(runtime="io.containerd.kata-qemu-virtcca.v2"))
    assert PlatformStage(run).shim_name() == "containerd-shim-kata-qemu-virtcca-v2"


@pytest.mark.parametrize(
    ("text", "newer"), [("26.1.5+dfsg1", True), ("19.03", False), ("18.09.0", False)]
)
def test_docker_versions_are_compared_as_versions(text: str, newer: bool) -> None:
    bound, found = version("19.03"), version(text)
    assert bound is not None
    assert found is not None
    assert (found > bound) is newer


@pytest.mark.parametrize("text", [None, "", "unknown"])
def test_no_version_is_none(text: str | None) -> None:
    assert version(text) is None


def test_an_empty_system_prompt_is_not_sent() -> None:
    model: Any = {"name": "m", "command": ("serve",), "question": "？"}
    roles = [m["role"] for m in messages(WantedModel(**model))]
    assert roles == ["system", "user"]
    assert [m["role"] for m in messages(WantedModel(**model, system_prompt=""))] == ["user"]
