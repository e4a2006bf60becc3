"""A stage that is begun early: its job goes on beside others, and ends with the run."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest

from harness.wait import wait_for
from tests.sample.early import ALARM, REFUSED
from tests.unit.mini import HOST_PLUGIN, SCHEMA_PLUGIN, Mini, gone, sample
from tests.unit.patience import PATIENCE

SLEEP = "echo $$ >pid.new; mv pid.new pid; echo asleep; sleep 600"
ASLEEP = "until [ -e pid ]; do sleep 0.05; done; "


@pytest.fixture
def mini(tmp_path: Path) -> Mini:
    plugins = ["harness.plugin.plugin", SCHEMA_PLUGIN, HOST_PLUGIN, "tests.sample.early"]
    return Mini(tmp_path / "m", suite=sample("suite_early"), plugins=plugins)


def told(mini: Mini) -> list[str]:
    """What the record says of stages and tests, in order."""
    found = []
    for event in mini.record():
        if event["kind"] == "stage":
            found.append(f"{event['name']} {event['state']}")
        elif event["kind"] == "test":
            found.append(f"{event['nodeid'].partition('::')[2]} {event['outcome']}")
    return found


def of_job(mini: Mini) -> list[dict[str, Any]]:
    """The changes that the stage with the job has made."""
    return [e for e in mini.record() if e["kind"] == "change" and e["stage"] == "long"]


def test_the_job_goes_on_beside_a_stage_of_the_very_first_test(mini: Mini) -> None:
    status, out = mini.pytest("-m", "acceptance", "-k", "other or again")
    assert status == 0, out
    assert told(mini)[:5] == [
        "base started",
        "base ok",
        "long started",
        "other started",
        "other ok",
    ]


def test_the_job_goes_on_beside_another_stage(mini: Mini) -> None:
    """Each waits for what the other makes."""
    status, out = mini.pytest("-m", "acceptance")
    assert status == 0, out
    assert told(mini) == [
        "base started",
        "base ok",
        "long started",  # in the setup of the first test that has all that it takes
        "test_base[1] passed",
        "test_base[2] passed",
        "other started",
        "other ok",
        "test_other passed",
        "long ok",
        "test_long passed",
        "test_long_again passed",
    ]
    commands = [e for e in mini.record() if e["kind"] == "command" and "touch begun" in e["line"]]
    assert {event["stage"] for event in commands} == {"long"}
    assert mini.made() == []


@pytest.mark.parametrize(
    ("environ", "says"),
    [
        ({REFUSED: "1"}, "Stage 'long' failed: No room."),
        ({"MINI_LONG": "touch begun; exit 3"}, "ended with exit status 3"),
    ],
    ids=["to begin", "to end well"],
)
def test_what_fails_is_told_where_it_is_asked_for(
    mini: Mini, environ: dict[str, str], says: str
) -> None:
    status, out = mini.pytest(
        "-m", "acceptance", environ={"MINI_OTHER": "touch made-other", **environ}
    )
    assert status == 1
    assert "3 passed, 1 error, 1 blocked in" in out
    assert says in out
    assert out.count("Stage 'long' failed") == 1
    assert [line for line in told(mini) if "passed" not in line][-2:] == [
        "test_long error",
        "test_long_again skipped",
    ]
    assert mini.made() == []
    assert mini.journals() == []


@pytest.mark.parametrize(
    ("signum", "other", "tests"),
    [
        (signal.SIGINT, ASLEEP + "sleep 600", "base or other or again"),
        (signal.SIGTERM, "", "base or again"),
    ],
    ids=["Ctrl-C beside it", "SIGTERM while it is waited for"],
)
def test_a_signal_ends_the_job_with_the_run(
    mini: Mini, signum: signal.Signals, other: str, tests: str
) -> None:
    environ = {"MINI_LONG": SLEEP, "MINI_OTHER": other}
    process = mini.start("-m", "acceptance", "-k", tests, environ=environ)
    pid_file = mini.host / "pid"
    wait_for("the job sleeps", pid_file.exists, PATIENCE, 0.05)
    if not other:
        process.until("[long] waited for")
    process.send_signal(signum)
    status, out = process.finish()
    assert status == 2, out
    assert gone(pid_file)
    assert "long interrupted" in told(mini)
    assert mini.record()[-1]["undo_failed"] == []
    assert mini.journals() == []


def test_a_run_that_ends_before_it_is_asked_for_ends_the_job(mini: Mini) -> None:
    environ = {"MINI_LONG": SLEEP, "MINI_OTHER": f"{ASLEEP} exit 1"}
    status, out = mini.pytest("-m", "acceptance", "-x", environ=environ)
    assert status == 1, out
    assert gone(mini.host / "pid")
    assert told(mini)[-1] == "long interrupted"
    assert mini.journals() == []


def test_time_that_is_up_for_who_waits_ends_the_job(mini: Mini) -> None:
    environ = {"MINI_LONG": SLEEP, ALARM: "1"}
    words = ("-o", "timeout=1000", "-m", "acceptance", "-k", "base or again")
    status, out = mini.pytest(*words, environ=environ)
    assert status == 1, out
    assert "Stage 'long' failed: Time is up for stage 'long': 1000 s." in out
    assert "at work: [long] sh -euc" in out
    assert "long failed" in told(mini)
    assert gone(mini.host / "pid")


def test_nothing_is_begun_where_nothing_is_provisioned(mini: Mini) -> None:
    status, out = mini.pytest("-m", "acceptance", "--provision", "never")
    assert status == 0, out
    assert of_job(mini) == []
    assert told(mini).index("long started") > told(mini).index("test_other passed")


def test_nothing_is_begun_that_no_selected_test_needs(mini: Mini) -> None:
    environ = {"MINI_OTHER": ""}
    status, out = mini.pytest("-m", "acceptance", "-k", "base or other", environ=environ)
    assert status == 0, out
    assert "3 passed, 2 deselected" in out
    assert of_job(mini) == []
