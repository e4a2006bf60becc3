"""Bounds, and what a record of commands holds."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from harness.errors import LabError
from harness.host.command import CAPTURE, CommandTimeout, HostUnreachable
from harness.host.host import Host
from harness.host.process import execute
from harness.record.trace import at_stage
from harness.wait import WaitTimeout, wait_for
from tests.unit.mini import ROOT
from tests.unit.patience import PATIENCE

GIGABYTE = r"""
import re, sys
sys.path.insert(0, sys.argv[1])
from harness.host.host import open_local
def peak():  # not ru_maxrss: that one counts what the parent had at the fork
    return int(re.search(r"VmHWM:\s+(\d+)", open("/proc/self/status").read())[1])
before = peak()
with open_local(become=False) as host:
    result = host.run("head", "-c", "1073741824", "/dev/zero", timeout=500)
after = peak()
print(result.out_bytes, len(result.out), before, after)
"""


def test_a_gigabyte_of_output_stays_within_64_MiB() -> None:
    argv = [sys.executable, "-c", GIGABYTE, str(ROOT)]
    done = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=PATIENCE)
    total, kept, before, after = map(int, done.stdout.split())
    assert total == 1 << 30
    assert kept == CAPTURE + 1, "and a mark for what is left out"
    assert after < 64 * 1024  # KiB, the interpreter and the harness included
    assert after >= before > 0


@pytest.mark.parametrize("script", ["sleep 1000", "exec >&- 2>&-; sleep 1000"])
def test_the_guard_strikes_where_the_far_side_does_not(script: str) -> None:
    with pytest.raises(CommandTimeout, match="no answer within"):
        execute(["sh", "-c", script], hard_timeout=0.2)


def test_a_daemon_may_still_be_in_the_group_when_its_starter_ends(tmp_path: Path) -> None:
    """`setsid -f` ends before its child has left for a session of its own."""
    child = 'until [ -e "$1/ended" ]; do sleep 0.02; done; touch "$1/went on"'
    script = f"({child}) >/dev/null 2>&1 </dev/null &"
    execute(["sh", "-c", script, "sh", str(tmp_path)], hard_timeout=PATIENCE)
    (tmp_path / "ended").touch()
    wait_for("the child has gone on", (tmp_path / "went on").exists, PATIENCE, 0.02)


def test_every_command_is_recorded(recorded: tuple[Host, Path]) -> None:
    host, path = recorded
    host.run("echo", "a b")
    host.sh("exit 4", ok=(4,))
    with pytest.raises(LabError):
        host.run("false")
    with pytest.raises(CommandTimeout):
        host.run("sleep", "1000", timeout=0.5)
    events = [json.loads(line) for line in path.read_text().splitlines()]
    assert [(e["rc"], e["error"]) for e in events[:4]] == [
        (0, None),
        (4, None),
        (1, "CommandFailed"),
        (124, "CommandTimeout"),
    ]
    assert events[0]["line"] == "echo 'a b'"


def test_a_deadline_is_later_on_a_slow_host(local: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "pace", 5.0)
    with pytest.raises(CommandTimeout, match=r"after 0\.5 s \(0\.1 s x 5, the pace of '"):
        local.run("sleep", "1000", timeout=0.1)


def test_what_runs_on_a_host_is_known_while_it_runs(local: Host) -> None:
    seen: list[str] = []
    with at_stage("rootfs"):
        local.run("echo", "a b", on_line=lambda _: seen.extend(local.active.lines()))
    assert [line.partition(" (for ")[0] for line in seen] == ["[rootfs] echo 'a b'"]
    assert local.active.lines() == []


def test_three_failures_are_three_kinds() -> None:
    assert not issubclass(HostUnreachable, CommandTimeout)
    assert not issubclass(CommandTimeout, HostUnreachable)


class Clock:
    """Time that passes only in sleep."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def test_wait_for_returns_what_the_probe_found() -> None:
    clock = Clock()
    answers = iter([None, 0, "up"])
    found = wait_for("it", lambda: next(answers), 10, 1, clock=clock, sleep=clock.sleep)
    assert found == "up"
    assert clock.now == 102


def test_wait_for_names_the_condition_and_the_last_error() -> None:
    clock = Clock()

    def probe() -> None:
        raise LabError("The port is closed.")

    with pytest.raises(WaitTimeout, match=r"10 s of 10 s for the server.*The port is closed"):
        wait_for("the server", probe, 10, 3, clock=clock, sleep=clock.sleep)


def test_a_success_after_the_deadline_is_none() -> None:
    clock = Clock()

    def slow() -> bool:
        clock.now += 11
        return True

    with pytest.raises(WaitTimeout, match="too late"):
        wait_for("it", slow, 10, 1, clock=clock, sleep=clock.sleep)


def test_a_fault_of_the_probe_passes_through() -> None:
    with pytest.raises(ZeroDivisionError):
        wait_for("it", lambda: 1 // 0, 10)
