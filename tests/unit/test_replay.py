"""The host that answers from a record: its replies are the record's, all else is the real host."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from harness.host.command import CommandFailed, CommandTimeout
from harness.host.host import ANY
from harness.record.trace import STREAM_TAIL, Trace, at_stage
from tests.unit.replay import Recorded, ReplayHost, Unknown, recorded


def write(path: Path) -> None:
    """A record, written as a run writes its own."""
    with Trace(path) as trace:
        trace.event("run", id="r1", profile={})
        nothing = Recorded("", {}, {}, [], {})
        host = ReplayHost(nothing, trace)
        for status, out in ((1, ""), (0, "b"), (0, "c")):
            host.reply("docker image inspect", status=status, out=out)
            host.run("docker", "image", "inspect", "a tag", ok=ANY)
        for stage, release in (("platform", "6.6.0"), ("rootfs", "6.12.0")):
            host.reply("uname", out=release)
            with at_stage(stage):
                host.run("uname", "-r")
        host.reply("gzip", out="x" * (STREAM_TAIL + 1))
        host.run("gzip", "-dc")
        host.reply("ctr", status=0)
        host.run("ctr", "task", "exec", "--exec-id", "exec-7", "arch")
        host.reply("mktemp")
        host.write("/etc/a", "twelve bytes")


@pytest.fixture
def host(tmp_path: Path) -> ReplayHost:
    """The host of that record."""
    write(tmp_path / "kept.jsonl")
    return ReplayHost(recorded(tmp_path / "kept.jsonl"), Trace(tmp_path / "replayed.jsonl"))


def test_replies_come_in_their_order_and_the_last_one_again(host: ReplayHost) -> None:
    said = [host.run("docker", "image", "inspect", "a tag", ok=ANY) for _ in range(4)]
    assert [(one.rc, one.out) for one in said] == [(1, ""), (0, "b"), (0, "c"), (0, "c")]


def test_a_host_that_is_ready_gives_the_last_reply_alone(host: ReplayHost) -> None:
    host.ready = True
    assert host.run("docker", "image", "inspect", "a tag").out == "c"


def test_a_stage_gets_its_own_replies(host: ReplayHost) -> None:
    with at_stage("rootfs"):
        assert host.run("uname", "-r").out == "6.12.0"
    with at_stage("another"):  # and one that asked for nothing of the kind, those of all
        assert host.run("uname", "-r").out == "6.6.0"


def test_a_status_is_judged_as_always(host: ReplayHost) -> None:
    with pytest.raises(CommandFailed, match="Command 'docker image inspect 'a tag''"):
        host.run("docker", "image", "inspect", "a tag")


def test_a_deadline_is_judged_as_always(host: ReplayHost) -> None:
    host.reply("uname", status=124, seconds=30)
    with pytest.raises(CommandTimeout, match="still running after 30 s"):
        host.run("uname", "-r", timeout=30)


def test_a_command_is_in_the_record_of_the_replay(host: ReplayHost) -> None:
    host.run("uname", "-r")
    assert host.trace.path is not None
    [event] = map(json.loads, host.trace.path.read_text().splitlines())
    assert (event["argv"], event["out"]) == (["uname", "-r"], "6.6.0")


def test_ids_and_sizes_of_one_run_are_those_of_another(host: ReplayHost) -> None:
    host.run("ctr", "task", "exec", "--exec-id", "exec-1", "arch")
    host.write("/etc/a", "others")
    assert host.written == {"/etc/a": "others"}


def test_an_unknown_command_is_told_with_the_nearest_that_are_known(host: ReplayHost) -> None:
    with pytest.raises(Unknown) as caught:
        host.run("docker", "image", "inspect", "another")
    assert "('docker', 'image', 'inspect', 'another')" in str(caught.value)
    nearest = str(caught.value).partition("The nearest are:\n")[2].splitlines()
    assert nearest[0] == "  ('docker', 'image', 'inspect', 'a tag')"
    assert host.unknown


def test_half_an_output_is_no_reply(host: ReplayHost) -> None:
    with pytest.raises(Unknown, match="the end of its output"):
        host.run("gzip", "-dc")


def test_a_changed_reply_counts_from_then_on_and_the_last_change_first(host: ReplayHost) -> None:
    host.edit("uname", old="6.6", new="5.10")
    assert host.run("uname", "-r").out == "5.10.0"
    host.reply("uname", "-m", out="aarch64")
    host.reply("uname", "-r", out="4.19")
    assert host.run("uname", "-r").out == "4.19"
    assert host.unused() == [("uname", "-m")]


def test_an_edit_that_changes_nothing_is_a_mistake(host: ReplayHost) -> None:
    host.edit("uname", old="5.10", new="4.19")
    with pytest.raises(AssertionError, match=r"nothing to change: no '5.10' in '6\.6\.0'"):
        host.run("uname", "-r")


def test_a_spare_reply_counts_where_the_record_has_none(host: ReplayHost) -> None:
    host.spare("uname", out="spare")
    host.spare("gzip", out="whole")
    assert host.run("uname", "-r").out == "6.6.0"
    assert host.run("uname", "-m").out == "spare"
    assert host.run("gzip", "-dc").out == "whole"
