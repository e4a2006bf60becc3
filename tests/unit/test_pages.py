"""How the pages look: contrast, from their colours; and in Chromium, where there is one."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from reports import documents, html, trend
from reports.history import opened
from reports.integrity import check
from tests.unit import records
from tests.unit.mini import ROOT

CSS = (ROOT / "reports" / "templates" / "report.css").read_text()
AA = 4.5  # WCAG 2.1, 1.4.3: normal text against what is behind it
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")


def _luminance(colour: str) -> float:
    """WCAG's relative luminance of #rgb or #rrggbb."""
    digits = colour[1:] if len(colour) == 7 else "".join(2 * c for c in colour[1:])
    parts = [int(digits[at : at + 2], 16) / 255 for at in (0, 2, 4)]
    linear = [p / 12.92 if p <= 0.03928 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def _contrast(one: str, two: str) -> float:
    dark, light = sorted((_luminance(one), _luminance(two)))
    return (light + 0.05) / (dark + 0.05)


def _rules() -> dict[str, dict[str, str]]:
    """Selector -> declarations, variables resolved."""
    found: dict[str, dict[str, str]] = {}
    for selectors, body in re.findall(r"([^{}]+)\{([^{}]*)\}", CSS):
        declared = dict(re.findall(r"([\w-]+):\s*([^;]+)", body))
        for selector in selectors.split(","):
            found.setdefault(selector.strip(), {}).update(declared)
    variables = found[":root"]
    return {
        selector: {k: re.sub(r"var\((.*?)\)", lambda m: variables[m[1]], v) for k, v in d.items()}
        for selector, d in found.items()
    }


def test_every_text_stands_out() -> None:
    rules = _rules()
    paper, ink = rules[":root"]["--paper"], rules[":root"]["--ink"]
    pairs = {"body": (ink, paper)}
    for selector, declared in rules.items():
        colour, ground = declared.get("color"), declared.get("background")
        base = rules[".badge"]["color"] if selector.startswith(".badge.") else ink
        if colour or ground:
            pairs[selector] = (colour or base, ground or paper)
    assert len(pairs) > 10
    weak = {s: round(_contrast(*pair), 2) for s, pair in pairs.items() if _contrast(*pair) < AA}
    assert not weak
    links = [rules["a"]["color"], rules[":root"]["--soft"]]
    grounds = [rules[s]["background"] for s in (".banner", ".banner.fine", ".banner.bad")]
    assert all(_contrast(link, ground) >= AA for link in links for ground in [paper, *grounds])


def test_the_measure_of_contrast() -> None:
    assert _contrast("#000", "#fff") == pytest.approx(21)
    assert _contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01), "known to fail"


WATCH = """<!DOCTYPE html><html lang="en"><title>t</title><pre id="said"></pre>
<iframe src="%s" style="width:%dpx;height:800px"></iframe><script>
const say = text => document.getElementById("said").append(text + "\\n");
onload = () => {
  const frame = document.querySelector("iframe").contentWindow, page = frame.document;
  const loaded = frame.performance.getEntriesByType("resource").map(e => e.name);
  say("requests " + loaded.filter(n => !n.startsWith("file:") && !n.startsWith("data:")).length);
  say("wide " + (page.documentElement.scrollWidth > page.documentElement.clientWidth));
  const anchors = [...page.querySelectorAll('a[href^="#"]')];
  say("anchors " + anchors.length);
  say("lost " + anchors.filter(a => !page.getElementById(a.hash.slice(1))).length);
  say("pictures " + page.querySelectorAll("svg[role=img][aria-label]").length);
};
</script>"""


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
@pytest.mark.parametrize(("page", "width"), [("report", 1100), ("report", 390), ("trend", 390)])
def test_in_chromium(tmp_path: Path, page: str, width: int) -> None:
    """No error on the console, nothing fetched, nothing that is wider than the screen."""
    tests = {"bound": ("passed", ""), "viable": ("failed", f"E   it {'is long ' * 40}")}
    run = records.write(tmp_path / "run", tests, evidence=["dmesg"], exit_status=1)
    documents.write(run, check(run), run.folder)
    with opened(tmp_path / "history.sqlite") as history:
        history.add(run)
        (run.folder / "trend.html").write_text(trend.page(history), encoding="utf-8")
    watch = tmp_path / "watch.html"
    watch.write_text(WATCH % (run.folder / f"{page}.html", width))
    assert CHROMIUM is not None
    done = subprocess.run(
        [
            *(CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom"),
            *("--disable-background-networking", f"--user-data-dir={tmp_path / 'user'}"),
            *("--allow-file-access-from-files", "--enable-logging=stderr", f"file://{watch}"),
        ],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert "CONSOLE" not in done.stderr, done.stderr
    said = dict(re.findall(r"(\w+) (\w+)$", done.stdout, re.M))
    assert (said["requests"], said["wide"], said["lost"]) == ("0", "false", "0")
    assert int(said["pictures"]) >= 1
    assert page == "trend" or int(said["anchors"]) > 3


@pytest.mark.parametrize("language", ["en", "zh"])
def test_every_text_is_there_in_every_language(tmp_path: Path, language: str) -> None:
    from reports.texts import TEXTS

    assert all(all(both) for both in TEXTS.values())
    run = records.write(tmp_path / "run", profile={"standins": ["GPU"]})
    text = html.page(run, check(run), language)
    assert not re.findall(r">((?:rule|fact)_[\w ]+)<", text), "a key without a text"
    assert TEXTS["standins_head"][language == "zh"] in text
