"""What a time limit that was reached says of how busy the machines are."""

from __future__ import annotations

import re

import pytest

from harness.errors import LabError, TimeIsUp
from harness.host.command import CommandTimeout
from harness.host.host import Host
from harness.plugin import load
from harness.run.clock import Limit
from harness.run.stage import StageFailed
from harness.wait import WaitTimeout
from tests.unit.conftest import break_connection

HERE = r"load: \d+\.\d on the \d+ cores of this machine"


LIMITS = {"rootfs": Limit("stage 'rootfs'", 1200, "rootfs")}
KEY = "budget of the stage: rootfs = 1200 in [budget] of the profile"


@pytest.mark.parametrize("error", [TimeIsUp("late"), CommandTimeout("late"), WaitTimeout("late")])
def test_time_limits_are_explained(error: BaseException) -> None:
    (line,) = load.limit_details(error, None, LIMITS)
    assert re.fullmatch(HERE, line)
    *key, line = load.limit_details(StageFailed("rootfs", error), None, LIMITS)
    assert re.fullmatch(HERE, line)
    assert key == ([] if isinstance(error, TimeIsUp) else [KEY]), "its own hint has it"


def test_a_tests_own_command_has_a_key_too() -> None:
    limits = {**LIMITS, "command": Limit("stage 'command'", 60, "command")}
    key, line = load.limit_details(CommandTimeout("late"), None, limits)
    assert re.fullmatch(HERE, line)
    assert key == "budget of a test's command: command = 60 in [budget]"
    assert len(load.limit_details(WaitTimeout("late"), None, limits)) == 1


def test_nothing_else_is() -> None:
    assert load.limit_details(StageFailed("rootfs", LabError("no room")), None, LIMITS) == []
    assert load.limit_details(None, None, LIMITS) == []


def test_this_very_machine_is_named_once(local: Host) -> None:
    assert re.fullmatch(HERE, load.load_line(local))
    assert re.fullmatch(HERE, load.load_line(None))


def test_another_host_is_asked(local: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "boot_id", "another")
    there = rf", \d+\.\d+ on the \d+ of host '{re.escape(local.name)}'"
    assert re.fullmatch(HERE + there, load.load_line(local))


def test_a_host_that_is_lost_is_not_waited_for(own: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(own, "boot_id", "another")
    break_connection(own)
    assert re.fullmatch(
        HERE + r", that of host 'own' is not known: Host 'own' .*", load.load_line(own)
    )
