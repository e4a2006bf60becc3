"""Where a run's time went: said and drawn from its record alone."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from functools import cache
from pathlib import Path

import pytest

from harness.record.trace import Trace
from reports import __main__ as command
from reports.html import lanes, told
from reports.record.reading import load
from reports.record.record import Record
from reports.record.timeline import OWN, STAGE, Timeline, timeline
from reports.texts.texts import LANGUAGES, translator
from tests.unit import kept, records

ENGLISH = translator("en")
SVG = "{http://www.w3.org/2000/svg}"


@cache
def passed() -> Timeline:
    return timeline(kept.passed())


@pytest.fixture(params=["run-passed", "run-failed", "run-kata"])
def run(request: pytest.FixtureRequest, tmp_path: Path) -> Record:
    """Each of the real runs that are kept."""
    packed = request.param == "run-kata"
    return load(kept.unpacked("run-kata", tmp_path) if packed else kept.DATA / request.param)


def test_the_path_leads_through_the_whole_run_without_a_gap(run: Record) -> None:
    found = timeline(run)
    segments = [segment for step in found.path for segment in step.segments]
    ends = [0.0, *(segment.end for segment in segments)]
    assert [segment.begin for segment in segments] == pytest.approx(ends[:-1], abs=0.06)
    assert ends[-1] == found.seconds == run.seconds
    assert 0 <= found.own < found.seconds - found.before


def test_each_stage_test_and_undo_has_its_bar(run: Record) -> None:
    found = timeline(run)
    assert {act.name for act in found.of("stage")} == {stage.name for stage in run.stages}
    assert len(found.of("test")) == len(run.kind("test"))
    assert len(found.of("undo")) == len(run.kind("undo"))
    assert all(0 <= act.begin <= act.end <= run.seconds for act in found.acts)


def test_a_job_that_was_followed_was_waited_for() -> None:
    waits = {wait.job.name: wait for wait in passed().waits}
    assert [*waits] == ["image-build", "rootfs-dnf", "rootfs-driver", "model-server"]
    assert waits["rootfs-dnf"].seconds == pytest.approx(99.2, abs=0.1)
    assert (waits["image-build"].seconds, waits["image-build"].job.state) == (0, "ok")
    assert waits["image-build"].late == pytest.approx(191.8, abs=0.1)
    assert waits["model-server"].served
    assert waits["model-server"].job.state == "stopped"


def test_what_ran_beside_something_longer_is_not_on_the_path() -> None:
    on_it = {one.name for step in passed().path for one in step.segments if one.kind == "job"}
    assert on_it == {"rootfs-dnf", "rootfs-driver", "model-server"}
    rootfs = next(step for step in passed().path if step.owner.name == "rootfs")
    stage = kept.passed().stage("rootfs")
    assert stage is not None
    assert rootfs.owner.kind == STAGE
    assert rootfs.seconds == pytest.approx(stage.seconds, abs=1)


def test_the_harness_own_time_is_when_no_command_ran() -> None:
    """By another way: mark each millisecond in which something ran."""
    run, found = kept.passed(), passed()
    began = [(event["at"] - event["seconds"], event["at"]) for event in run.kind("command")]
    jobs = {wait.job.name: wait for wait in found.waits}
    image = jobs["image-build"]
    began = [span for span in began if span[1] != image.seen]  # it is told at another time
    began += [(image.job.begin, image.job.end)]
    began += [(jobs["model-server"].since, jobs["model-server"].until)]
    began += [(act.begin, act.end) for act in found.of("question")]
    busy = bytearray(int(run.seconds * 1000) + 2)
    for begin, end in began:
        first, last = round(begin * 1000), round(end * 1000)
        busy[first:last] = b"\x01" * (last - first)
    idle = busy[round(found.before * 1000) : round(run.seconds * 1000)].count(0) / 1000
    assert found.own == pytest.approx(idle, abs=0.5)


def test_a_look_at_a_server_long_after_it_served_is_no_wait_for_it(tmp_path: Path) -> None:
    record = _written(tmp_path)
    found = timeline(record)
    [wait] = found.waits
    assert (wait.job.name, wait.job.state, wait.served) == ("web", "stopped", True)
    assert not [one for step in found.path for one in step.segments if one.kind == "job"]


def _written(folder: Path) -> Record:
    """A server that is started, served at once, and is looked at again by a test."""
    unit = f"accept-{folder.name}-web.service"
    fields = {"host": "lab", "line": "", "rc": 0, "out": "", "err": "", "error": None}
    fields |= {"seconds": 0.0, "out_bytes": 0, "err_bytes": 0}
    begin = {"id": 1, "stage": "gpu", "what": "job 'web'", "durable": False, "run": folder.name}
    return records.write(
        folder / folder.name,
        events=[
            ("change", begin),
            ("command", {**fields, "stage": "gpu", "argv": ["sh", unit, "serve"]}),
            ("command", {**fields, "stage": "gpu", "argv": ["true"]}),
            ("command", {**fields, "stage": None, "argv": ["sh", "-c", "look", unit]}),
            ("undo", {**begin, "outcome": "undone", "error": None, "seconds": 0.0}),
        ],
    )


def test_it_is_told_in_words() -> None:
    said = "\n".join(told.lines(passed(), ENGLISH))
    assert said.startswith("1189.6 s in all. The host answered after 84.6 s; since then")
    assert "     394.3 s  stage rootfs\n              150.4 s  job rootfs-driver\n" in said
    assert "  stage rootfs waited for job rootfs-dnf (99.2 s)\n" in said
    assert "image-build of stage image ran for 215.4 s beside the rest" in said


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_act_is_drawn_within_the_picture_and_no_two_overlap(language: str) -> None:
    text = translator(language)
    found = lanes.picture(passed(), text)
    drawn = [bar for lane in found.lanes[1:] for bar in lane.bars]
    assert len(drawn) == len(passed().acts)
    for lane in found.lanes:
        for bar in lane.bars:
            assert lanes.LEFT <= bar.x <= bar.x + bar.width <= found.width + 1
            assert lane.y <= bar.y < bar.y + lanes.HIGH <= found.height
    rows: dict[tuple[str, float], float] = {}
    for lane in found.lanes[1:4]:
        for bar in lane.bars:
            assert bar.x >= rows.get((lane.name, bar.y), 0) - 0.01, bar
            rows[lane.name, bar.y] = bar.x + (bar.width if bar.width > 0.6 else 0)
    assert {one.css for one in found.lanes[0].bars} == {"on", OWN}
    assert {key for key in _texts(lanes.page(kept.passed(), language)) if "tl_" in key} == set()


def _texts(page: str) -> list[str]:
    picture = page[page.index("<svg") : page.index("</svg>") + len("</svg>")]
    return [text for text in ET.fromstring(picture).itertext() if text.strip()]


def test_names_of_others_are_text(tmp_path: Path) -> None:
    tests = {"suites/test_x.py::test_<script>&": ("passed", "")}
    page = lanes.page(records.write(tmp_path / "r", tests))
    assert "test_<script>" not in page
    assert "test_&lt;script&gt;&amp;" in page


def test_a_run_that_was_cut_off_has_one_too(tmp_path: Path) -> None:
    with Trace(tmp_path / "record.jsonl") as trace:
        records.Made()._start(trace, "r")
        trace.event("stage", name="gpu", state="started", provision="always")
    found = timeline(load(tmp_path))
    assert [(act.name, act.state) for act in found.of("stage")] == [("gpu", "started")]
    assert (found.own, [step.owner.kind for step in found.path]) == (0, ["before"])
    assert "<svg" in lanes.page(load(tmp_path))


def test_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    record = records.write(tmp_path / "run", {"x": ("passed", "")})
    page = tmp_path / "page.html"

    def reports(*args: object) -> tuple[int, str]:
        monkeypatch.setattr(
            "sys.argv", ["reports", "timeline", str(record.folder), *map(str, args)]
        )
        return command.main(), capsys.readouterr().out

    status, said = reports("--text")
    assert (status, [*record.folder.glob("*.html")]) == (0, [])
    assert "The critical path:" in said
    status, said = reports("-o", page, "--lang", "zh")
    assert (status, said.splitlines()[-1]) == (0, str(page))
    assert "关键路径" in said
    assert "关键路径" in page.read_text("utf-8")
    assert reports()[0] == 0
    assert (record.folder / "timeline.html").is_file()
