"""Stages without pytest: reuse, digests, what stays failed; evidence and record."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from harness.errors import LabError
from harness.host.command import HostUnreachable
from harness.host.host import Host
from harness.record.evidence import Evidence
from harness.record.facts import facts
from harness.record.trace import Trace
from harness.run.stage import Provision, Run, Stage, StageFailed
from harness.undo.journal import Journal
from tests.unit.mini import EVENT


@dataclass(frozen=True)
class Facts:
    content: str


class Writes(Stage[None, Facts]):
    """Writes its input to a file; says what was called."""

    name = "writes"

    def __init__(self, run: Run[None], path: Path, content: str) -> None:
        self.run, self.path, self.content = run, path, content
        self.calls: list[str] = []

    def inputs(self) -> Mapping[str, object]:
        return {"content": self.content, "path": str(self.path)}

    def probe(self) -> Facts | None:
        self.calls.append("probe")
        return Facts(self.path.read_text()) if self.path.exists() else None

    def start(self) -> None:
        self.calls.append("start")
        if self.content == "bad":
            raise LabError("There is no room.")

    def provision(self) -> None:
        self.calls.append("provision")
        self.path.write_text(self.content)

    def verify(self) -> Facts:
        self.calls.append("verify")
        if not self.path.exists():
            raise LabError("There is no file.", hint="write one", clause="file.there")
        return Facts(self.path.read_text())


class Durable(Writes):
    name = "durable"
    durable = True


def make_run(
    host: Host,
    folder: Path,
    provision: Provision = "auto",
    out: Callable[[str], None] = lambda text: None,
) -> Run[None]:
    journal = Journal(host, "r", str(folder / "state"))
    return Run(id="r", dir=folder, profile=None, host=host, journal=journal,
               trace=Trace(folder / "record.jsonl"), evidence=Evidence(folder / "evidence"),
               provision=provision, out=out)  # fmt: skip


@pytest.mark.parametrize(
    ("provision", "calls"),
    [
        ("auto", ["probe"]),
        ("always", ["start", "provision", "verify"]),
        ("never", ["verify"]),
    ],
)
def test_what_is_already_so(
    local: Host, tmp_path: Path, provision: Provision, calls: list[str]
) -> None:
    (tmp_path / "f").write_text("x")
    run = make_run(local, tmp_path, provision)
    stage = Writes(run, tmp_path / "f", "x")
    assert run.stage(stage) == Facts("x")
    assert stage.calls == calls


def test_what_is_not_so_is_made(local: Host, tmp_path: Path) -> None:
    run = make_run(local, tmp_path)
    stage = Writes(run, tmp_path / "f", "x")
    assert run.stage(stage) == Facts("x")
    assert stage.calls == ["probe", "start", "provision", "verify"]


@pytest.mark.parametrize(
    ("provision", "there", "begun", "more"),
    [
        ("auto", True, ["probe"], []),
        ("auto", False, ["probe", "start"], ["provision", "verify"]),
        ("always", True, ["start"], ["provision", "verify"]),
        ("never", True, [], ["verify"]),
    ],
)
def test_what_is_begun_early_is_not_asked_again(
    local: Host,
    tmp_path: Path,
    provision: Provision,
    there: bool,
    begun: list[str],
    more: list[str],
) -> None:
    if there:
        (tmp_path / "f").write_text("x")
    run = make_run(local, tmp_path, provision)
    stage = run.begin(Writes(run, tmp_path / "f", "x"))
    assert stage.calls == begun
    assert run.stage(stage) == Facts("x")
    assert stage.calls == [*begun, *more]
    run.close()
    assert _states(tmp_path) == ["started", "ok"]


def test_what_cannot_be_begun_is_told_by_who_asks_for_it(local: Host, tmp_path: Path) -> None:
    run = make_run(local, tmp_path)
    stage = run.begin(Writes(run, tmp_path / "f", "bad"))
    with pytest.raises(StageFailed, match="There is no room"):
        run.stage(stage)
    assert stage.calls == ["probe", "start"]
    run.close()
    assert _states(tmp_path) == ["started", "failed"]


def test_what_is_begun_and_not_asked_for_ends_with_the_run(local: Host, tmp_path: Path) -> None:
    run = make_run(local, tmp_path)
    run.begin(Writes(run, tmp_path / "f", "x"))
    run.close()
    assert _states(tmp_path) == ["started", "interrupted"]


def _states(folder: Path) -> list[str]:
    events = map(json.loads, (folder / "record.jsonl").read_text().splitlines())
    return [event["state"] for event in events if event["kind"] == "stage"]


def test_never_says_what_to_do(local: Host, tmp_path: Path) -> None:
    run = make_run(local, tmp_path, "never")
    with pytest.raises(StageFailed) as caught:
        run.stage(Writes(run, tmp_path / "f", "x"))
    assert str(caught.value) == (
        "Stage 'writes' failed: There is no file. [clause file.there]\nhint: write one"
    )
    assert caught.value.brief == 'stage "writes" failed: There is no file.'


def test_a_failed_stage_stays_failed(local: Host, tmp_path: Path) -> None:
    run = make_run(local, tmp_path, "never")
    with pytest.raises(StageFailed) as first:
        run.stage(Writes(run, tmp_path / "f", "x"))
    (tmp_path / "f").write_text("x")
    with pytest.raises(StageFailed) as second:
        run.stage(Writes(run, tmp_path / "f", "x"))
    assert second.value is first.value
    assert run.failed == {"writes": first.value}


def test_a_durable_stage_is_reused_while_its_inputs_stay(local: Host, tmp_path: Path) -> None:
    path = tmp_path / "f"
    made = ["start", "provision", "verify"]
    for content, calls in [
        ("a", made),
        ("a", ["probe"]),
        ("b", made),  # its digest is another: not even asked
        ("b", ["probe"]),
    ]:
        run = make_run(local, tmp_path)
        stage = Durable(run, path, content)
        assert run.stage(stage) == Facts(content)
        assert stage.calls == calls


class Proved(Durable):
    name = "proved"

    def product(self) -> str:
        return f"inode {self.path.stat().st_ino}" if self.path.exists() else ""


@pytest.mark.finding("C15", "a failed run forgets what a good one has made")
def test_a_failed_run_forgets_nothing_of_a_good_one(local: Host, tmp_path: Path) -> None:
    good, other = tmp_path / "good", tmp_path / "other"
    for path, content in ((good, "a"), (other, "bad"), (good, "bad"), (other, "b"), (good, "a")):
        run = make_run(local, tmp_path)
        stage = Proved(run, path, content)
        if content == "bad":  # be it of the very product
            with pytest.raises(StageFailed):
                run.stage(stage)
        else:
            run.stage(stage)
    assert stage.calls == ["probe"]


@facts
class Seen:
    text: str
    by: Mapping[str, tuple[int, ...]]


class Remembers(Durable):
    """What is in its file it looks at once."""

    name = "remembers"

    def probe(self) -> Facts | None:
        return self.verify() if self.path.exists() else None

    def verify(self) -> Facts:
        what = f"{self.path.stat().st_ino} {self.path.stat().st_mtime_ns}"
        return Facts(self.run.remembered(self.name, what, Seen, self.look).text)

    def look(self) -> Seen:
        self.calls.append("look")
        return Seen(self.path.read_text(), {"it": (1, 2)})


def test_what_has_not_changed_is_looked_at_once(local: Host, tmp_path: Path) -> None:
    path, said = tmp_path / "file", list[str]()

    def carried_out(provision: Provision = "auto") -> list[str]:
        stage = Remembers(make_run(local, tmp_path, provision, said.append), path, "one")
        assert stage.run.stage(stage).content == path.read_text()
        return [call for call in stage.calls if call == "look"]

    assert carried_out() == ["look"]
    assert carried_out() == []
    assert "[remembers] nothing of it has changed since it was looked at" in said
    assert carried_out("never") == ["look"], "who asks what is there is told"
    path.write_text("two")
    assert carried_out() == ["look"]
    assert carried_out() == []
    seen = tmp_path / "state" / "stages" / "remembers.seen"
    seen.write_text(seen.read_text().partition("\n")[0] + '\n{"text": 1}\n')
    assert carried_out() == ["look"], "what another version has seen"


def test_what_somebody_else_put_there_is_not_reused(local: Host, tmp_path: Path) -> None:
    path = tmp_path / "f"
    make_run(local, tmp_path).stage(Proved(make_run(local, tmp_path), path, "a"))
    (tmp_path / "theirs").write_text("a")
    (tmp_path / "theirs").rename(path)
    again = Proved(make_run(local, tmp_path), path, "a")
    again.run.stage(again)
    assert again.calls == ["start", "provision", "verify"]


def test_what_cannot_be_looked_at_is_made_anew(local: Host, tmp_path: Path) -> None:
    """As an image that is damaged: not again and again the error of the look at it."""
    (tmp_path / "f").write_text("damaged")
    said: list[str] = []
    run = make_run(local, tmp_path, out=said.append)
    stage = Writes(run, tmp_path / "f", "x")

    def broken() -> None:
        raise LabError("The file is damaged.\nSee there.", hint="mend it")

    stage.probe = broken  # type: ignore[method-assign]
    assert run.stage(stage) == Facts("x")
    assert stage.calls == ["start", "provision", "verify"]
    assert said[0] == "[writes] cannot be reused: The file is damaged."


def test_a_host_that_is_lost_in_the_look_says_nothing_of_what_is_there(
    local: Host, tmp_path: Path
) -> None:
    run = make_run(local, tmp_path)
    stage = Writes(run, tmp_path / "f", "x")

    def lost() -> None:
        raise HostUnreachable("Gone.")

    stage.probe = lost  # type: ignore[method-assign]
    with pytest.raises(StageFailed, match="Gone"):
        run.stage(stage)
    assert stage.calls == []


def test_a_plan_says_what_the_class_itself_does() -> None:
    assert Writes.plan(None) == ["Writes its input to a file; says what was called."]
    assert Durable.plan(None) == ["durable"], "it has no docstring of its own"


def test_an_interruption_is_no_failure(local: Host, tmp_path: Path) -> None:
    run = make_run(local, tmp_path)
    stage = Writes(run, tmp_path / "f", "x")

    def interrupted() -> None:
        raise KeyboardInterrupt

    stage.provision = interrupted  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        run.stage(stage)
    assert run.failed == {}
    last = json.loads((tmp_path / "record.jsonl").read_text().splitlines()[-2])
    assert (last["kind"], last["state"]) == ("stage", "interrupted")


def test_the_record_masks_secrets_wherever_they_stand(tmp_path: Path) -> None:
    trace = Trace(tmp_path / "r.jsonl", ["secret", "secret-longer", "", "471147114711"])
    value = {"a secret": ["x", ("secret-longer",)], "n": 471147114711, "p": "/secret"}
    trace.event("fact", name="f", value=value)
    trace.event("fact", name="\udcff", value=float(1))
    trace.close()
    text = (tmp_path / "r.jsonl").read_text()
    assert "secret" not in text
    assert "longer" not in text
    assert "471147114711" not in text
    first, second = map(json.loads, text.splitlines())
    assert first["value"] == {"a ***": ["x", ["***"]], "n": "***", "p": "/***"}
    assert second["name"] == "\\udcff", "which is JSON for every reader"
    with pytest.raises(ValueError, match="no kind of event"):
        trace.event("other")


def test_evidence_mirrors_the_test_id_and_stays_in_its_folder(tmp_path: Path) -> None:
    evidence = Evidence(tmp_path / "e")
    assert evidence.collect("a.py::t") is None
    evidence.register("dmesg", lambda: b"\xff")
    evidence.register("../../out", lambda: "x")
    folder = evidence.collect("suites/test_a.py::C::test_b[x/../y z]")
    assert folder == tmp_path / "e" / "suites" / "test_a.py" / "C" / "test_b[x_.._y_z]"
    assert sorted(p.name for p in folder.iterdir()) == ["_.._out", "dmesg.txt"]
    assert (folder / "dmesg.txt").read_bytes() == b"\xff"
    again = evidence.collect("suites/test_a.py::C::test_b[x/../y z]")
    assert again == folder
    assert sorted(p.name for p in folder.iterdir())[2:] == ["dmesg-2.txt", "dmesg.txt"]
    outside = evidence.collect("../../etc::t")
    assert outside is not None
    assert outside.is_relative_to(tmp_path / "e")


def test_evidence_is_masked_bounded_and_in_the_record(tmp_path: Path) -> None:
    trace = Trace(tmp_path / "record.jsonl", ["hush-hush"])
    evidence = Evidence(tmp_path / "evidence", trace, limit=60)
    evidence.register("fails", lambda: f"{1 / 0}")
    evidence.register("long", lambda: "x" * 100 + "the hush-hush end")
    folder = evidence.collect("a.py::t", {"failure": "of hush-hush"})
    assert folder is not None
    assert (folder / "failure.txt").read_text() == "of ***"
    expected = f"[the last 60 of 111 bytes]\n{'x' * 49}the *** end"
    assert (folder / "long.txt").read_text() == expected
    assert "ZeroDivisionError" in (folder / "fails.txt").read_text()
    events = [json.loads(line) for line in (tmp_path / "record.jsonl").read_text().splitlines()]
    assert len(events) == 3
    for event in events:
        EVENT.validate(event)
        data = (tmp_path / event["file"]).read_bytes()
        assert event["nodeid"] == "a.py::t"
        assert event["bytes"] == len(data)
        assert event["sha256"] == hashlib.sha256(data).hexdigest()


def test_a_collector_that_hangs_is_left_behind(tmp_path: Path) -> None:
    evidence = Evidence(tmp_path / "evidence", deadline=0.05)
    end = threading.Event()
    evidence.register("hangs", lambda: str(end.wait()))
    folder = evidence.collect("a.py::t")
    end.set()
    assert folder is not None
    text = (folder / "hangs.txt").read_text()
    assert text == "could not be collected: no answer within 0.05 s\n"


def test_a_host_that_hangs_is_not_waited_for_by_each_collector(tmp_path: Path) -> None:
    evidence = Evidence(tmp_path / "evidence", deadline=0.05)
    end, asked = threading.Event(), list[str]()

    def hangs() -> str:
        asked.append("once more")
        return str(end.wait())

    for number in range(9):
        evidence.register(f"c{number}", hangs)
    folder = evidence.collect("a.py::t")
    end.set()
    assert len(asked) == 2
    assert folder is not None
    assert len({path.read_text() for path in folder.iterdir()}) == 1
