"""summary.md: ten lines at most, in which nothing of others is Markdown."""

from __future__ import annotations

from pathlib import Path

import pytest

from fixtures.common.parts import Part
from reports import documents
from reports.formats import markdown
from reports.record.integrity import check
from reports.record.reading import load
from reports.record.record import Record
from tests.unit import kept, records

EVIL = "a`b``` <img src=x> [c](http://d) @all *e* | f\n# g\x1b[31m\u202eh"
AT = Path("/srv/runs/x/report.html")
WHERE = "`runner:/srv/runs/x/report.html`"


def news(**more: object) -> dict[str, object]:
    empty: dict[str, object] = dict.fromkeys(("failures", "known", "passes", "slower"), ())
    return {"earlier": 3, "last_good": "x", "tolerated": False, **empty, **more}


def full(folder: Path, says: str = "no card") -> Record:
    """A run of which there is something to say in every line."""
    slow = {"name": "stage gpu seconds", "value": 60.0, "low": 7.5, "high": 15.5}
    facts = {
        "parts": records.parts(Part("kata runtime", "kata运行时", "kata", "stand-in", "x")),
        "answer": records.figures(seconds=21.5),
        "news": news(failures=[says] * 6, known=["k"], passes=["p"], slower=[slow]),
    }
    tests = {says: ("failed", f"{says}\nhint: {says}")}
    return records.write(folder, tests, facts=facts, profile={"name": says}, exit_status=1)


def test_every_line(tmp_path: Path) -> None:
    text = markdown.document(full(tmp_path / "run"), "en", AT)
    first, *rest = text.splitlines()
    assert first.startswith("**failed**: `no card`, 20")
    assert first.endswith(" UTC, 0 min 0 s")
    assert rest == [
        "- 0 of 1 tests passed, 1 failed. Nothing was changed on the host. No security finding.",
        "- stand-ins: `kata runtime`",
        "- First failure: `suites/test_gpu.py::test_no card` `no card`",
        "- Hint: `no card`",
        f"- New failures: {'`no card`, ' * 4}2 more. Failed before, too: `k`",
        "- New passes: `p`",
        "- Worse than usual: `stage gpu seconds 60 (usually 7.5 to 15.5)`",
        "- Figures: `answer seconds 21.5 s`",
        f"- Report: {WHERE} (Exit status 1 failed)",
    ]


@pytest.mark.parametrize("language", ["en", "zh"])
def test_what_others_say_stands_in_code_alone(tmp_path: Path, language: str) -> None:
    text = markdown.document(full(tmp_path / "run", EVIL), language, AT)
    assert len(text.splitlines()) == 10
    assert text.count("`") % 2 == 0
    outside = text.split("`")[::2]
    assert not [part for part in outside if set(part) & set("<>[]@|#") or "img" in part]
    assert "\x1b" not in text
    assert "\u202e" not in text


def test_of_no_earlier_run(tmp_path: Path) -> None:
    facts = {"news": news(earlier=0, failures=["x"])}
    run = records.write(tmp_path / "run", {"x": ("failed", "E   y")}, facts=facts, exit_status=1)
    said = "- New failures, there being no earlier run of this lab: `x`"
    assert said in markdown.document(run, "en", AT).splitlines()
    assert "\n- 新增失败（本实验环境没有更早的运行）：`x`\n" in markdown.document(run, "zh", AT)


@pytest.mark.parametrize("record", [kept.passed(), kept.failed()], ids=["passed", "failed"])
@pytest.mark.parametrize("language", ["en", "zh"])
def test_of_a_real_run(record: Record, language: str, tmp_path: Path) -> None:
    documents.write(record, check(record), tmp_path, language)
    text = (tmp_path / "summary.md").read_text("utf-8")
    assert 3 < len(text.splitlines()) <= 10
    assert max(map(len, text.splitlines())) < 400
    assert f"{tmp_path}/report.html`" in text


def test_of_an_altered_record_nothing_is_concluded(tmp_path: Path) -> None:
    run = records.write(tmp_path / "run")
    path = run.folder / "record.jsonl"
    path.write_text(path.read_text().replace('"passed"', '"failed"', 1))

    altered = load(run.folder)
    text = markdown.document(check(altered).of(altered), "en", AT)
    assert text.startswith("**void**")
    assert "The record was altered" in text
