"""kata will do what passthrough needs, by its own account."""

import pytest

from fixtures.kata import Kata
from fixtures.rootfs import Rootfs
from fixtures.schema import Profile

pytestmark = [pytest.mark.acceptance, pytest.mark.kata, pytest.mark.order(30)]


@pytest.mark.clause("kata.guest-hook-path")
def test_guest_hook_path_is_set(kata: Kata, profile: Profile) -> None:
    assert kata.hypervisor["guest_hook_path"] == profile.kata.guest_hook_path


@pytest.mark.clause("kata.memory")
def test_memory_is_set(kata: Kata, profile: Profile) -> None:
    assert kata.hypervisor["default_memory"] == profile.kata.default_memory


@pytest.mark.clause("kata.configuration")
def test_runtime_reads_the_file_that_was_set(kata: Kata) -> None:
    assert kata.effective["Runtime"]["Config"]["Path"] == kata.configuration


@pytest.mark.clause("kata.cold-plug")
def test_runtime_will_cold_plug_vfio(kata: Kata, profile: Profile) -> None:
    assert kata.effective["Hypervisor"]["ColdPlugVFIO"] == profile.kata.cold_plug_vfio


@pytest.mark.clause("kata.image")
def test_runtime_will_boot_the_enlarged_image(kata: Kata, rootfs: Rootfs) -> None:
    assert kata.effective["Image"]["Path"] == rootfs.image
