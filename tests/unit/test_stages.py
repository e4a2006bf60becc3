"""What the stages decide by themselves, without a lab."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

import pytest

from fixtures.names import version
from fixtures.platform.stage import PlatformStage
from fixtures.profile import Profile
from harness.run.stage import Run


def run_with(**sections: object) -> Run[Profile]:
    """A run of which only the profile and the host's name are asked."""
    return cast(
        Run[Profile],
        SimpleNamespace(host=SimpleNamespace(name="lab"), profile=SimpleNamespace(**sections)),
    )


def test_the_shims_name_follows_containerds_rule() -> None:
    run = run_with(
        kata=SimpleNamespace(runtime="io.containerd.kata-qemu-virtcca.v2"), platform=None
    )
    assert PlatformStage(run).shim_name() == "containerd-shim-kata-qemu-virtcca-v2"


@pytest.mark.parametrize(
    ("text", "newer"), [("26.1.5+dfsg1", True), ("19.03", False), ("18.09.0", False)]
)
def test_docker_versions_are_compared_as_versions(text: str, newer: bool) -> None:
    bound, found = version("19.03"), version(text)
    assert bound is not None
    assert found is not None
    assert (found > bound) is newer


@pytest.mark.parametrize("text", ["", "unknown"])
def test_no_version_is_none(text: str) -> None:
    assert version(text) is None
