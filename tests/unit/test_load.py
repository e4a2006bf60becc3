"""What a time limit that was reached says of how busy the machines are."""

from __future__ import annotations

import re

import pytest

from harness import load
from harness.command import CommandTimeout
from harness.errors import LabError, TimeIsUp
from harness.host import Host
from harness.stage import StageFailed
from harness.wait import WaitTimeout
from tests.unit.conftest import break_connection

HERE = r"load: \d+\.\d on the \d+ cores of this machine"


@pytest.mark.parametrize("error", [TimeIsUp("late"), CommandTimeout("late"), WaitTimeout("late")])
def test_it_explains_time_limits(error: BaseException) -> None:
    assert load.explains(error)
    assert load.explains(StageFailed("rootfs", error))


def test_it_explains_nothing_else() -> None:
    assert not load.explains(StageFailed("rootfs", LabError("no room")))
    assert not load.explains(None)


def test_this_very_machine_is_named_once(local: Host) -> None:
    assert re.fullmatch(HERE, load.told(local))
    assert re.fullmatch(HERE, load.told(None))


def test_another_host_is_asked(local: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "boot_id", "another")
    there = rf", \d+\.\d+ on the \d+ of host '{re.escape(local.name)}'"
    assert re.fullmatch(HERE + there, load.told(local))


def test_a_host_that_is_lost_is_not_waited_for(own: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(own, "boot_id", "another")
    break_connection(own)
    assert re.fullmatch(HERE + r", that of host 'own' is not known: Host 'own' .*", load.told(own))
