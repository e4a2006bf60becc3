"""The report: every section of it, on kept records of real runs."""

from __future__ import annotations

import itertools
import json
import re
import shutil
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

from fixtures.common import parts
from fixtures.common.figures import Figure
from fixtures.model.load import Level, Load
from reports import documents
from reports.formats import junit, ocp, summary
from reports.html import figures, html
from reports.html.headline import headline
from reports.record import inventory, verdict
from reports.record.figures import quantity
from reports.record.integrity import check
from reports.record.reading import load
from reports.record.record import Record
from reports.texts.texts import TEXTS, translator
from reports.texts.words import CAPABILITIES, NOT_COVERED
from tests.unit import kept, records

LANGUAGES = ("en", "zh")
pytestmark = pytest.mark.xdist_group("pages")  # a page is made once a process


class Page(HTMLParser):
    """The ids of a page, and what its elements refer to; the text of each section by its id."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.references: list[str] = []
        self.sections: dict[str, str] = {}
        self._section = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name == "id":
                self.ids.append(value or "")
            elif name in ("href", "src", "xlink:href", "srcset", "action", "data"):
                self.references.append(value or "")
        if tag == "section":
            self._section = dict(attrs).get("id") or ""

    def handle_endtag(self, tag: str) -> None:
        if tag == "section":
            self._section = ""

    def handle_data(self, data: str) -> None:
        self.sections[self._section] = self.sections.get(self._section, "") + data


def _page(record: Record) -> Page:
    return Page(html.page(record, check(record)))


@pytest.fixture(scope="module")
def passed() -> Record:
    return kept.passed()


@pytest.fixture(scope="module")
def failed() -> Record:
    return kept.failed()


@pytest.fixture(scope="module", params=LANGUAGES)
def language(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def page(language: str) -> Page:
    return Page(kept.page("passed", language))


@pytest.mark.parametrize("which", ["passed", "failed"])
@pytest.mark.parametrize("language", LANGUAGES)
def test_it_needs_nothing_but_itself(which: str, language: str) -> None:
    folder = {"passed": kept.PASSED, "failed": kept.FAILED}[which]
    text = kept.page(which, language)
    page = Page(text)
    assert len(page.ids) == len(set(page.ids))
    for reference in page.references:
        if reference.startswith("#"):
            assert reference[1:] in page.ids
        elif not reference.startswith("data:"):
            assert (folder / unquote(reference)).is_file()
    assert "<script" not in text
    assert "@import" not in text
    assert len(text.encode()) < 2_000_000


def test_verdicts_and_rules(page: Page, language: str) -> None:
    text = translator(language)
    said = page.sections["capabilities"]
    for suite in ("platform", "rootfs", "kata", "image", "gpu", "network", "container", "model"):
        assert text(suite) in said
    [kind] = {part.verdict for part in verdict.capabilities(kept.passed())}
    assert said.count(text(f"verdict_{kind}")) >= 8 + 1, "one a suite, and in the rules"
    for kind in ("void", "failed", "not assessed", "rehearsed", "conditional", "qualified"):
        assert text(f"rule_{kind}") in said


def test_the_inventory(page: Page, passed: Record, language: str) -> None:
    said = page.sections["inventory"]
    items = inventory.inventory(passed)
    assert len(items) > 25
    for item in items:
        assert item.label[language] in said
        assert item.value in said
    known = {item.name: item.value for item in items}
    for what in ("Host", "Memory", "CNI plugins", "NVIDIA container toolkit", "GPU UUID", "QEMU"):
        assert known[what]
    assert len(known["NVIDIA driver installer (sha256)"]) == 64


def test_pictures(page: Page, passed: Record, language: str) -> None:
    text = translator(language)
    said = page.sections["timeline"]
    for stage in passed.stages:
        seconds = text("seconds_of").format(value=f"{stage.seconds:.0f}")
        assert text("noted").format(what=seconds, more=text(stage.how)) in said
        assert stage.name in said
    for span in (text("span_host"), "answer", "streamed", text("span_undo")):
        assert re.search(rf"^\s*{span}$", said, re.M), span
    assert text("axis_time") in said
    undo = next(one for one in figures.spans(passed, text) if one.name == text("span_undo"))
    assert undo.at > passed.kind("undo")[0]["at"]  # of a container that went during the run
    assert undo.at >= max(event["at"] for event in passed.kind("test"))
    said = page.sections["topology"]
    gpu, container = passed.stage("gpu"), passed.stage("container")
    assert gpu is not None
    assert container is not None
    for member in gpu.facts["members"]:
        assert member["bdf"] in said
        assert text("pic_group").format(number=member["group"]) in said
        assert member["driver"] in said
    (inner,) = [line for line in container.facts["pci"] if member["device"] in line]
    assert inner.split()[0] in said
    assert text("pic_root_port").format(id="rp0") in said
    assert text("pic_host") in said
    assert text("pic_guest") in said


def test_the_answer_and_its_figures(page: Page, passed: Record) -> None:
    said = page.sections["model"]
    answer, streamed = passed.facts["answer"], passed.facts["streamed"]
    assert passed.profile["model"]["question"] in said
    assert answer["text"] in said
    assert answer["finish_reason"] == "length"
    assert re.search(rf"{answer['text']} ?[(（][^)）]*max_tokens", said), "it was cut, and says so"
    for value in (answer["tokens_per_second"], streamed["first_token_seconds"]):
        assert f"{value:.4g}" in said


def test_figures_stand_beside_what_is_expected(tmp_path: Path, language: str) -> None:
    found = (
        Figure("copy", "Copy <device>", "设备内拷贝", 3.02e12, "B/s", 3.35e12, 0.8, "data sheet"),
        Figure("load-8-rate", "8 at once", "8并发", 1234.4, "tokens/s"),
        Figure("first", "First token", "首个token", 0.1, "s", 0.2),
    )
    run = records.write(tmp_path / "run", facts={"figures": found})
    text, said = translator(language), Page(html.page(run, check(run), language)).sections
    for one in found:
        assert (one.label if language == "en" else one.zh) in said["figures"]
    for value in ("3.02 TB/s", "3.35 TB/s", "data sheet", "1,234 tokens/s", "0.100 s", "2.00"):
        assert value in said["figures"]
    least = text("at_least").format(value="0.80")
    assert text("noted").format(what="0.90", more=least) in said["figures"]
    assert [(one["id"], one["ratio"]) for one in summary.document(run)["figures"]] == [
        (one.id, one.ratio) for one in found
    ]


def test_what_became_of_load_stands_by_the_answer(tmp_path: Path, language: str) -> None:
    none = (None,) * 6
    levels = tuple(Level(count, failed, "", 1.0, 0, *none) for count, failed in ((1, 0), (8, 2)))
    run = records.write(tmp_path / "run", facts={"load": Load(levels, None, None)})
    said = " ".join(Page(html.page(run, check(run), language)).sections["model"].split())
    asked, failed = [one.label[language] for one in run.shown]
    assert f"{asked} 1, 8" in said.replace(f"{asked}1", f"{asked} 1")
    assert f"{failed} 0, 2" in said.replace(f"{failed}0", f"{failed} 0")


def test_a_run_that_measured_nothing_has_no_figures() -> None:
    failed = kept.failed()
    assert "figures" not in failed.facts
    assert 'id="figures"' not in kept.page("failed")
    assert 'id="figures"' in kept.page("passed")


@pytest.mark.parametrize(
    ("value", "unit", "said"),
    [
        (787.2e12, "FLOP/s", "787 TFLOP/s"),
        (999.7e9, "B/s", "1.00 TB/s"),
        (12, "W", "12.0 W"),
        (1234567.0, "tokens/s", "1,234,567 tokens/s"),
        (0.00045, "s", "0.000450 s"),
        (0, "s", "0.00 s"),
        (4.0e18, "B/s", "4,000 PB/s"),
    ],
)
def test_a_quantity_is_readable(value: float, unit: str, said: str) -> None:
    assert quantity(value, unit) == said


def test_clauses_and_deviations(page: Page, passed: Record, language: str) -> None:
    covered, deviations = page.sections["clauses"], page.sections["deviations"]
    key = {"en": "deviation", "zh": "deviation_zh"}[language]
    for clause in passed.clauses.values():
        assert clause["id"] in covered
        assert clause["title" if language == "en" else "zh"] in covered
        if "deviation" in clause:
            assert clause[key] in deviations
        for reason in clause["not_assessed" if language == "en" else "not_assessed_zh"].values():
            assert reason in covered
    proved = [c for c in passed.clauses if _proved(passed, c)]
    counted = translator(language)("exercised").format(
        proved=len(proved), count=len(passed.clauses)
    )
    assert counted in covered


def _proved(run: Record, clause: str) -> bool:
    statuses = [test.status for test in run.tests if clause in test.clauses]
    return bool(statuses) and {*statuses} == {"passed"}


def test_findings(page: Page, passed: Record, language: str) -> None:
    said = page.sections["findings"]
    found = passed.facts["security_findings"]
    assert found
    for finding in found:
        text = TEXTS[f"finding_{finding['id']}"][LANGUAGES.index(language)]
        assert text.format(text=finding["text"]) in said
    here = translator(language)("here")
    assert said.count(here) == sum(finding["here"] for finding in found)


def test_changes(page: Page, passed: Record, language: str) -> None:
    said = page.sections["changes"]
    assert len(passed.changes) > 10
    for change in passed.changes:
        assert change.what in said
    undone = [change for change in passed.changes if change.outcome == "undone"]
    assert said.count(translator(language)("undone")) >= len(undone)


def test_a_passed_test_leads_to_what_it_rests_on(page: Page, passed: Record) -> None:
    said = page.sections["tests"]
    known = {stage.name for stage in passed.stages if stage.state == "ok"} | {*passed.facts}
    for number, test in enumerate(passed.tests, 1):
        assert f"test-{number}" in page.ids
        assert test.nodeid in said
    rests = [test for test in passed.tests if {*test.fixtures} & known or test.commands]
    assert len(rests) > 0.9 * len(passed.tests)
    assert {"stage-gpu", "stage-rootfs", "fact-answer"} <= {*page.ids}
    assert {"#stage-gpu", "#stage-rootfs", "#fact-answer"} <= {*page.references}
    ran = [passed.events[number] for test in passed.tests for number in test.commands]
    assert len(ran) > 20
    for event in ran:
        assert event["line"][:300] in said
    container = passed.stage("container")
    assert container is not None
    assert json.dumps(container.facts["smi"]["gpus"][0]["uuid"]) in page.sections["found"]


def test_a_place_to_sign(page: Page, passed: Record, language: str) -> None:
    said, text = page.sections["signature"], translator(language)
    assert passed.digest in said
    assert passed.id in said
    kind = verdict.overall(passed).verdict
    for what in ("signer", "role", "date", "signed", f"verdict_{kind}"):
        assert text(what) in said


def test_every_document_has_the_parts_and_names_the_stand_ins(
    tmp_path: Path, language: str
) -> None:
    found = records.parts(
        parts.part("CNI plugins", "stand-in", "<b>a stand-in</b>"),
        parts.part("kernel", "stand-in", "another"),
        parts.part("model", "not seen", ""),
    )
    run = records.write(tmp_path / "run", facts={"parts": found})
    page, text = Page(html.page(run, check(run), language)), translator(language)
    assert page.sections[""].count(text("standins_head")) >= 3
    names = {"en": "kernel, CNI plugins", "zh": "主机内核、CNI插件"}
    assert names[language] in page.sections[""]
    said = page.sections["parts"]
    for name, one in parts.PARTS.items():
        assert (name if language == "en" else one.zh) in said
    for words in ("<b>a stand-in</b>", text("real"), text("not seen"), text("not_reached")):
        assert words in said
    told = summary.document(run)["parts"]
    assert {one["name"]: one["state"] for one in told}["kernel"] == "stand-in"
    assert 'name="part kernel" value="stand-in: another"' in junit.document(run).decode()
    end, start = (json.loads(ocp.document(run).splitlines()[n]) for n in (-1, 1))
    assert end["testRunArtifact"]["testRunEnd"]["result"] == "NOT_APPLICABLE"
    assert {"info": "part vLLM: real: 1.0"} in start["testRunArtifact"]["testRunStart"]["dutInfo"][
        "platformInfos"
    ]


def test_the_first_line_of_a_cause_says_more_than_that_something_follows(tmp_path: Path) -> None:
    said = "E  each of these would be met later on:\nE    stage gpu: none\nE    stage image: none"
    failure = records.write(tmp_path / "run", {"bound": ("failed", said)}).first_failure
    assert failure is not None
    first = "each of these would be met later on: stage gpu: none"
    assert failure.cause == (first, "stage image: none")


def test_a_failure_leads_to_its_evidence(failed: Record) -> None:
    page = Page(kept.page("failed"))
    first = failed.first_failure
    assert first is not None
    assert "\n".join(first.cause) in page.sections["first-failure"]
    anchor = f"test-{failed.tests.index(first) + 1}"
    assert f"#{anchor}" in page.references
    assert {*first.evidence} <= {unquote(reference) for reference in page.references}


def test_a_host_that_was_not_put_back(tmp_path: Path) -> None:
    run = records.write(tmp_path / "run", exit_status=11, undo_failed=["[gpu] bind: no such file"])
    page = _page(run)
    assert "[gpu] bind: no such file" in page.sections["changes"]
    assert "the host is not as it was before" in page.sections[""]


def test_an_undo_that_failed_is_told(tmp_path: Path) -> None:
    events: list[tuple[str, dict[str, object]]] = [
        ("change", {"durable": False}),
        ("undo", {"outcome": "failed", "error": "no such file", "seconds": 0.1}),
    ]
    change = {"run": "r", "id": 1, "stage": "gpu", "what": "bind 0000:01:00.0"}
    more = [(kind, change | fields) for kind, fields in events]
    page = _page(records.write(tmp_path / "run", events=more, exit_status=11))
    said = re.sub(r"\s+", " ", page.sections["changes"])
    assert "gpubind 0000:01:00.0 NOno such file" in said


STAGE_FAILED = "Stage 'gpu' failed: no card\nhint: put one in\nline 3"


def test_the_first_failure_is_told_before_all_else(tmp_path: Path) -> None:
    out = "\n".join(f"line {number} of it" for number in range(100))
    command: dict[str, object] = {
        "host": "lab",
        "stage": "gpu",
        "argv": ["modprobe"],
        "line": "modprobe vfio-pci",
    }
    command |= {"rc": -1, "seconds": 612.5, "out": out, "err": "", "error": "Failed"}
    command |= {"out_bytes": len(out), "err_bytes": 0}
    stage = {"name": "gpu", "state": "failed", "seconds": 613.0, "error": STAGE_FAILED}
    events = [("stage", {"name": "gpu", "state": "started"}), ("command", command)]
    tests = {"bound": ("error", STAGE_FAILED), "viable": ("skipped", 'stage "gpu" failed: no')}
    run = records.write(
        tmp_path / "run", tests, stages={}, events=[*events, ("stage", stage)], evidence=["dmesg"]
    )
    text = html.page(run, check(run))
    assert text.index('id="first-failure"') < text.index("Started (UTC)")
    page = Page(text)
    said = page.sections["first-failure"]
    for words in ("Stage: gpu", "no card", "$ modprobe vfio-pci", "cut off after 612.50 s"):
        assert words in said
    assert "<strong>hint: put one in</strong>" in text
    assert "line 80 of it" in said
    assert "line 79 of it" not in said
    assert {*run.tests[0].evidence} <= {*page.references}


def test_what_did_not_pass_comes_first(failed: Record) -> None:
    text = kept.page("failed")
    shown = re.findall(r'<div class="head"><span class="badge ([\w-]+)', text)
    assert len(shown) == len(failed.tests)
    assert [kind for kind, _ in itertools.groupby(shown)] == [
        *("error", "not-assessed", "blocked", "not-assessed", "passed")
    ]


def test_a_table_of_contents(page: Page, language: str) -> None:
    text = kept.page("passed", language)
    nav = text[text.index("<nav") : text.index("</nav>")]
    listed = re.findall(r'href="#([\w-]+)">([^<]+)</a>', nav)
    assert [name for name, _ in listed] == [name for name in page.sections if name]
    for name, label in listed:
        assert label.replace("&#39;", "'") in page.sections[name]


def test_the_profile_and_what_is_not_covered(page: Page, passed: Record, language: str) -> None:
    said = page.sections["profile"]
    assert passed.start["profile_digest"] in said
    for key, value in passed.settings.items():
        assert key in said
        assert value in said
    assert passed.settings["network.subnet"] == "10.88.0.0/16"
    assert passed.settings["vlab.gpus"] == "1"
    for key in NOT_COVERED:
        assert translator(language)(key) in page.sections["not_covered"]


CHANGE = {"run": "r", "id": 1, "stage": "gpu", "what": "bind", "durable": False}
KEPT_CHANGE = CHANGE | {"id": 2, "durable": True}
UNDONE = {"outcome": "undone", "error": None, "seconds": 0.1}
FINDING = {"id": "x", "text": "y", "clause": "gpu.bind", "here": True, "severity": "high"}


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({}, "2 of 2 tests passed, none failed. Nothing was changed on the host."),
        (
            {
                "events": [
                    ("change", CHANGE),
                    ("change", KEPT_CHANGE),
                    ("undo", CHANGE | UNDONE),
                ]
            },
            "The host was put back, 1 change is kept for later runs.",
        ),
        ({"exit_status": 11, "undo_failed": ["x"]}, "The host is not as it was before."),
        ({"kept": True}, "The host was left as it is, on request."),
        ({"exit_status": None}, "how the host was left is not in the record."),
        ({"tests": {"bound": ("failed", "E  no")}}, "0 of 1 tests passed, 1 failed. "),
        ({"facts": {"security_findings": [FINDING]}}, "1 security finding (1 high)."),
        (
            {"facts": {"security_findings": [FINDING, FINDING | {"id": "z", "here": False}]}},
            "1 security finding (1 high), 1 more if the guide is followed to the letter.",
        ),
    ],
)
def test_the_first_sentence(tmp_path: Path, more: dict[str, Any], said: str) -> None:
    run = records.write(tmp_path / "run", **more)
    assert said in headline(run, translator("en"))
    assert headline(run, translator("en")) in _page(run).sections[""]


def test_an_altered_record_says_so_first(tmp_path: Path) -> None:
    run = records.write(tmp_path / "run")
    path = run.folder / "record.jsonl"
    path.write_bytes(path.read_bytes().replace(b"0.25", b"0.3"))
    page = _page(load(run.folder))
    assert TEXTS["headline_void"][0] in page.sections[""]
    assert "2 of 2" not in page.sections[""]
    assert "signature" not in page.sections
    assert "qualified" not in page.sections["capabilities"].partition("Rules")[0]


def test_figures_against_their_bands(tmp_path: Path) -> None:
    waiver = {"what": "x", "owner": "ann", "reason": "new <card>", "expires": "2030-01-31"}
    row = {"name": "stage gpu seconds", "value": 60.0, "low": 7.5, "high": 12.5}
    rows = [row | {"state": "waived", "waiver": waiver}, row | {"state": "regression"}]
    fact = {"measures": rows, "regression": True, "said": [], "expired": [waiver]}
    page = _page(records.write(tmp_path / "run", facts={"baseline": fact | {"unknown": [waiver]}}))
    said = page.sections["baseline"]
    for words in (
        "7.5 to 12.5",
        "waived",
        "regression",
        "A waiver has expired: x (ann, 2030-01-31)",
    ):
        assert words in said
    assert "A waiver names no figure of this lab: x (ann, 2030-01-31): new <card>" in said


def _moved(tmp_path: Path) -> Iterator[tuple[Path, Path]]:
    run = tmp_path / "moved run"
    shutil.copytree(kept.FAILED, run)
    yield run, tmp_path / "elsewhere" / "out"
    yield run, run


def test_the_evidence_of_a_moved_run_is_found(tmp_path: Path) -> None:
    for run, out in _moved(tmp_path):
        documents.write(record := load(run), check(record), out)
        page = Page((out / "report.html").read_text("utf-8"))
        links = [r for r in page.references if not r.startswith(("#", "data:"))]
        assert len(links) > 10
        for link in links:
            assert (out / unquote(link)).is_file(), link
        told = map(json.loads, (out / "ocp.jsonl").read_text().splitlines())
        steps = [event["testStepArtifact"] for event in told if "testStepArtifact" in event]
        files = [step["file"]["uri"] for step in steps if "file" in step]
        assert len(files) > 10
        assert [file for file in files if not (out / unquote(file)).is_file()] == []


BETWEEN = re.compile(r"[\u4e00-\u9fff][,.;:!?()] *[\u4e00-\u9fff]")


def test_chinese_sentences_have_chinese_punctuation() -> None:
    assert [zh for _, zh in TEXTS.values() if BETWEEN.search(zh)] == []
    run = kept.failed()
    assert not BETWEEN.search(headline(run, translator("zh")))
    top = re.sub(
        r"<[^>]*>", "", kept.page("failed", "zh").partition("<nav")[0].partition("<body>")[2]
    )
    assert not BETWEEN.search(top)


def test_every_text_is_there_in_every_language(page: Page, language: str) -> None:
    assert all(all(both) for both in TEXTS.values())
    said = "\n".join(page.sections.values())
    keys = [key for key in TEXTS if "_" in key and " " not in key and key not in CAPABILITIES]
    assert not [key for key in keys if re.search(rf"^\s*{re.escape(key)}\s*$", said, re.M)]
    if language == "zh":
        assert not re.search(r"\d+ min \d+ s|provisioned|\bto the letter\b|Signature", said)
