"""Text of others is data: record, terminal, pages and pictures stay what they are."""

from __future__ import annotations

import html
import io
import json
import re
import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from pathlib import Path

import pytest

from harness.host.command import CAPTURE, Capture, Result, tail
from harness.plugin.screen import Screen
from harness.record.masking import Masker
from harness.record.trace import Trace
from harness.text import CUT, end, end_of, head, plain, readable
from reports import documents
from reports.formats import summary
from reports.history import trend
from reports.history.history import opened
from reports.html import drawing
from reports.record.integrity import check
from reports.record.reading import load
from tests.unit import records

HOSTILE = {
    "GBK": b"cp: \xc3\xbb\xd3\xd0\xbf\xd5\xbc\xe4".decode("utf-8", "surrogateescape"),
    "half a character": "模型".encode()[1:].decode("utf-8", "surrogateescape"),
    "half a pair": "\ud83d",
    "NUL": "a\0b",
    "clipboard": "\x1b]52;c;cm0gLXJmIC8=\x07",
    "title": "\x1b]0;root@lab\x1b\\",
    "screen": "\x1b[2J\x1b[H\x1bc\x9b2J",
    "DCS": "\x1bP+q544e\x1b\\\x90+q\x9c",
    "within another": "\x1b\x1b[0m[2J\x9b\x9b0m2J\x1b\x1b]0;x\x07]0;y\x07",
    "no end": "\x1b]0;all of this stays",
    "overwritten": "failed\rpassed\x08\x08",
    "turned": "\u202edessap\u2066",
    "HTML": "</pre></script><script>alert(1)</script><img src=x onerror=alert(1)>",
    "attribute": "\" onmouseover='alert(1)' x=\"",
    "template": "{{ 7 * 7 }}{% raw %}",
    "mathtext": r"NVIDIA $\frac$ L20 $^$",
    "shell": "$(touch x)`touch x`'; touch x #",
    "XML": "]]>\ufffe\uffff&#0;",
    "lines": "a\r\nb\u2028c\x85d\x0be",
}
# What a terminal, or a browser, would obey; and what no encoding has.
OBEYED = re.compile("[\0-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


class Elements(HTMLParser):
    """The elements of a page, and their attributes."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.names: set[str] = set()
        self.attributes: set[str] = set()
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.add(tag)
        self.attributes |= {name for name, _ in attrs}


@pytest.mark.parametrize("kind", HOSTILE)
def test_readable(kind: str) -> None:
    text = readable(f"before {HOSTILE[kind]} behind")
    assert not OBEYED.search(text)
    assert text.startswith("before ")
    assert text.endswith(" behind")
    assert readable(text) == text


def test_a_record_keeps_what_separates_fields() -> None:
    assert plain("a\0b\tc\nd\x1b[31me\x1b[0m\udcff") == "a\0b\tc\nde\\udcff"
    assert readable("a\0b\r\nc\rd") == "a\N{REPLACEMENT CHARACTER}b\nc\nd"
    assert "all of this stays" in readable(HOSTILE["no end"])


@pytest.mark.parametrize("kind", HOSTILE)
def test_once_is_enough(kind: str) -> None:
    assert plain(plain(HOSTILE[kind])) == plain(HOSTILE[kind])


def test_cut_at_characters_with_a_mark() -> None:
    assert (head("机密容器", 2), end("机密容器", 2)) == ("机密…", "…容器")
    assert (head("机密", 2), end("机密", 2)) == ("机密", "机密")
    for size in range(1, 7):
        part = "机密容器".encode()[-size:]
        assert end_of(part, cut=True).decode() in ("…", "…器", "…容器")
    assert end_of(b"whole", cut=False) == b"whole"


def test_the_end_of_a_stream_is_cut_at_a_character() -> None:
    captured = Capture(None)
    captured.feed("模".encode() * (CAPTURE // 3 + 9))
    text = captured.text()
    assert set(text) == {CUT, "模"}
    assert len(text.encode()) <= CAPTURE + len(CUT.encode())


@pytest.mark.parametrize("at", range(0, 40, 3))
@pytest.mark.finding("F11", "a secret is cut before it is masked")
def test_a_secret_at_a_cut_is_masked(at: int) -> None:
    secret = "s3cr3t-of-the-house-4711"
    result = Result(("x",), 1, "", "x" * (2000 - at) + secret + "y" * 2000, 0.0, 0, 5000)
    for text in (tail(result), head(f"{'x' * at}{secret}", 30), end(f"{secret}{'x' * at}", 30)):
        masked = Masker([secret]).text(text)
        assert not any(secret[n : n + 4] in masked for n in range(len(secret) - 3))


def test_a_secret_between_control_sequences_is_masked(tmp_path: Path) -> None:
    with Trace(tmp_path / "record.jsonl", ["s3cr3t-value"]) as trace:
        trace.event("progress", stage="x", text="is s3\x1b[1mcr3t-\x1b[0mvalue")
        trace.command("lab", Result(("x",), 0, "s3cr\x1b[31m3t-value", "", 0.0, 0, 0))
    said = (tmp_path / "record.jsonl").read_text()
    assert "value" not in said
    assert said.count("***") == 2


def test_a_record_is_what_strict_readers_of_json_take(tmp_path: Path) -> None:
    with Trace(tmp_path / "record.jsonl") as trace:
        trace.event("fact", name="all", value={**HOSTILE, HOSTILE["GBK"]: "key"})
    raw = (tmp_path / "record.jsonl").read_bytes()
    assert raw.isascii()
    json.dumps(json.loads(raw), ensure_ascii=False).encode()  # no lone surrogate is in it


@pytest.mark.parametrize("kind", HOSTILE)
@pytest.mark.finding("F1", "a byte that is no UTF-8 costs every document")
def test_every_document_of_a_hostile_run(kind: str, tmp_path: Path) -> None:
    text = HOSTILE[kind]
    run = records.write(
        tmp_path / "run",
        {"bound": ("failed", f"E   {text}"), f"x[{text}]": ("skipped", f"skip {text}")},
        facts={"answer": records.gpu(text, text), "surroundings": records.host(text, text)},
        stages={text: 3.0},
        profile={"name": text, "standins": [text]},
        evidence=[text],
        undo_failed=[text],
        exit_status=1,
    )
    assert check(run).intact
    written = documents.write(run, check(run), tmp_path / "out", "zh")
    assert not written.failed
    for path in (tmp_path / "out").iterdir():
        said = path.read_bytes().decode()
        assert not OBEYED.search(said.replace("\r", "")), path.name
    ET.fromstring((tmp_path / "out" / "junit.xml").read_bytes())
    page = written.report.read_text()
    made = Elements(page)
    assert not made.names & {"script", "img", "iframe", "object", "embed", "base", "form"}
    assert not [name for name in made.attributes if name.startswith("on")]
    assert kind != "template" or html.escape(text) in page
    assert not any(OBEYED.search(line) for line in summary.lines(run))
    with opened(tmp_path / "history.sqlite") as history:
        history.add(run)
        assert not OBEYED.search(trend.page(history))


@pytest.mark.finding("F3", "a GPU's name that is a formula takes the report away")
def test_names_of_others_are_no_formulas() -> None:
    made, axes = drawing.figure(4, 2, drawing.Margins())
    axes.text(0.5, 0.5, HOSTILE["mathtext"])
    axes.annotate("$^$", (0, 0))
    axes.set_yticks([0, 1], [r"$\frac$", "$_$"])
    axes.set_title("$}$")
    assert r"\frac" in drawing.svg(made, "x", "x")


def test_a_line_to_paste_does_what_it_says(tmp_path: Path) -> None:
    with opened(tmp_path / "history.sqlite") as history:
        for number, name in enumerate(("lab", HOSTILE["shell"])):
            profile = {"name": name}
            history.add(records.write(tmp_path / str(number), profile=profile))
        page = trend.page(history, lab="lab")
    assert "--lab &#39;$(touch x)`touch x`" in page


@pytest.mark.parametrize("kind", HOSTILE)
@pytest.mark.finding("F4", "a host's escapes reach the operator's terminal")
def test_the_terminal_of_a_run(kind: str) -> None:
    stream = io.StringIO()
    screen = Screen(stream, Masker(["s3cr3t-value"]).text)
    screen.say(f"[model] {HOSTILE[kind]} s3cr3t\x1b[1m-value")
    assert not OBEYED.search(stream.getvalue())
    assert stream.getvalue().endswith(" ***\n")


@pytest.mark.parametrize(
    "line",
    [
        '{"kind": "test"}',
        '{"kind": "stage", "name": 7}',
        '{"kind": "fact", "name": "guide", "value": 7}',
        '{"kind": "command"}',
        "[" * 100_000,
        '{"kind": "x", "at": ' + "9" * 5000 + "}",
        '{"kind": "run", "state": "ended"}',
    ],
)
def test_a_record_that_somebody_has_written_is_told_in_a_sentence(
    line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from reports.__main__ import main

    records.write(tmp_path / "run")
    with (tmp_path / "run" / "record.jsonl").open("a") as file:
        file.write(f"{line}\n")
    monkeypatch.setattr("sys.argv", ["reports", "render", str(tmp_path / "run")])
    assert main() in (1, 2)
    assert "Traceback" not in "".join(capsys.readouterr())


def test_a_record_of_before_is_shown_readably(tmp_path: Path) -> None:
    run = records.write(tmp_path / "run", {"bound": ("failed", "E   MARK")}, exit_status=1)
    path = run.folder / "record.jsonl"
    path.write_bytes(path.read_bytes().replace(b"MARK", rb"\udcc3\u001b[2J\u0000"))
    written = documents.write(load(run.folder), check(load(run.folder)), tmp_path / "out")
    assert not written.failed
    assert not OBEYED.search(written.report.read_text())
