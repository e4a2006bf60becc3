"""The clock of a test: it goes in the test's phases alone, at the host's pace."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from harness.errors import TimeIsUp
from harness.host.active import ActiveCommands
from harness.host.host import Host
from harness.record.trace import at_stage
from harness.run.clock import LEAST, Clock, Limit
from tests.sample import alarm, during
from tests.unit.mini import PLUGINS, Mini, sample


@pytest.fixture(autouse=True)
def own_alarm() -> Iterator[None]:
    """The process's alarm is pytest-timeout's, whose limit for this very test goes on later."""
    left, _ = signal.setitimer(signal.ITIMER_REAL, 0)
    handler = signal.getsignal(signal.SIGALRM)
    yield
    signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, left)


def seconds() -> float:
    """Until the alarm; 0: there is none."""
    return signal.getitimer(signal.ITIMER_REAL)[0]


def scene(pace: float = 1.0) -> Any:
    return SimpleNamespace(host=SimpleNamespace(pace=pace, active=ActiveCommands()))


def started(pace: float = 1.0) -> Clock:
    clock = Clock(lambda: scene(pace).host)
    clock.start(Limit("test 'it'", 1000))
    return clock


def test_time_is_up_in_a_phase_alone(local: Host) -> None:
    clock = Clock(lambda: local)
    clock.start(Limit("test 'it'", 1000))
    signal.raise_signal(signal.SIGALRM)
    with pytest.raises(TimeIsUp, match="Time is up for test 'it': 1000 s"), clock.phase():
        signal.raise_signal(signal.SIGALRM)
    signal.raise_signal(signal.SIGALRM)


def test_the_clock_stands_still_between_phases() -> None:
    clock = started()
    assert seconds() == 0
    with clock.phase():
        before = seconds()
    assert seconds() == 0
    with clock.phase():
        assert 0 < seconds() <= before <= 1000
        clock.cancel()
        assert seconds() == 0


def test_what_is_late_by_a_hair_is_not_struck_in_the_next_phase_at_once() -> None:
    clock = started()
    with clock.phase():
        signal.setitimer(signal.ITIMER_REAL, 0)  # it has run out, and nobody has seen it yet
    with clock.phase():
        assert 0 < seconds() <= LEAST


def test_a_stage_has_its_own_time_and_takes_none_of_the_tests() -> None:
    clock = started()
    with clock.phase():
        with clock.replaced_by(Limit("stage 'slow'", 5000, "slow", slack=1000)):
            assert 5000 < seconds() <= 6000
        assert 0 < seconds() <= 1000
        with pytest.raises(KeyError), clock.replaced_by(Limit("stage 'bad'", 5000)):
            raise KeyError
        assert 0 < seconds() <= 1000


def test_limits_go_at_the_pace_of_the_host_from_when_it_is_known() -> None:
    host: Any = None
    clock = Clock(lambda: host)
    clock.start(Limit("test 'it'", 1000))
    with clock.phase():
        with clock.replaced_by(Limit("stage 'host'", 2000)):
            assert 1000 < seconds() <= 2000
            host = scene(5).host
        assert 4000 < seconds() <= 5000


def test_nothing_is_raised_at_a_debugger() -> None:
    clock = Clock(lambda: None)
    clock.start(Limit("test 'it'", 1000), unless=lambda: True)
    with clock.phase():
        signal.raise_signal(signal.SIGALRM)


def test_the_message_says_whose_how_long_what_runs_and_what_to_do(local: Host) -> None:
    now = [100.0]
    doing = ActiveCommands(clock=lambda: now[0])
    host: Any = SimpleNamespace(pace=1.5, active=doing, paced_words=local.paced_words)
    with at_stage("rootfs"), doing.running("dnf install 'a b'"), doing.running("a look at it"):
        now[0] += 61
        error = Limit("stage 'rootfs'", 1200, "rootfs").over(host)
    assert str(error) == (
        "Time is up for stage 'rootfs': 1200 s.\n"
        "at work: [rootfs] dnf install 'a b' (for 61 s)\n"
        "hint: if it needs longer here, raise 'rootfs' in [budget] of the profile, 1200 now"
    )
    idle = Limit("test 'it'", 5).over(SimpleNamespace(**vars(host)))  # type: ignore[arg-type]
    assert str(idle) == "Time is up for test 'it': 5 s.\nat work: no command on the host"


@pytest.mark.parametrize("hook", alarm.HOOKS)
def test_an_alarm_beside_the_phases_ends_nothing(tmp_path: Path, hook: str) -> None:
    plugins = [*PLUGINS, "tests.sample.alarm"]
    mini = Mini(tmp_path / "m", suite=sample("suite_alarm"), plugins=plugins)
    status, out = mini.pytest("-m", "acceptance", "-s", environ={"MINI_ALARM": hook})
    assert status == 1, out
    assert "1 failed, 2 passed" in out
    assert ("the alarm rings" in out) == (hook != "interact"), "pytest-timeout has cancelled it"
    assert "the failure itself" in out
    assert "host: put back (2 changes undone)" in out


def test_the_pace_of_a_slow_host_is_told_and_in_the_record(tmp_path: Path) -> None:
    mini = Mini(tmp_path / "m", during.time_out, plugins=[*PLUGINS, "tests.sample.slow"])
    status, out = mini.pytest("-m", "acceptance")
    assert status == 1, out
    assert "is 2.5 times slower than usual; limits follow" in out
    assert "was still running after 0.5 s (0.2 s x 2.5, the pace of " in out
    assert "load: " in out
    facts = {e["name"]: e["value"] for e in mini.record() if e["kind"] == "fact"}
    assert facts["pace"] == 2.5
