"""How the pages look, in Chromium: contrast, width, links, requests, and the printed page."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from reports.fleet import page as fleet
from reports.fleet.hosts import read
from reports.history import trend
from reports.history.history import opened
from tests.unit import kept, records
from tests.unit.patience import PATIENCE

pytestmark = pytest.mark.xdist_group("pages")  # a page is made once a process
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
AA = 4.5  # WCAG 2.1, 1.4.3: normal text against what is behind it
PHONE, DESK = 360, 1100  # CSS pixels
A4 = (595, 842)  # points

# All pages at once, each in a frame; what is found of them, as JSON. A frame is as high as its
# page: only what lies in the view can be asked what is behind it.
WATCH = """<!DOCTYPE html><html lang="en"><title>t</title>%s<pre id="said"></pre><script>
const parts = colour => colour.match(/[\\d.]+/g).map(Number);
const light = colour => parts(colour).slice(0, 3).map(c => c / 255)
  .map(c => c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
  .reduce((sum, c, n) => sum + c * [0.2126, 0.7152, 0.0722][n], 0);
const contrast = (one, two) => {
  const [dark, bright] = [light(one), light(two)].sort((a, b) => a - b);
  return (bright + 0.05) / (dark + 0.05);
};
const solid = colour => /^rgb/.test(colour) && (parts(colour)[3] ?? 1) > 0.5;
const behind = (view, page, x, y) => {
  for (const element of page.elementsFromPoint(x, y)) {
    const style = view.getComputedStyle(element);
    if (element.ownerSVGElement && !element.closest("text") && solid(style.fill)) return style.fill;
    if (!element.ownerSVGElement && solid(style.backgroundColor)) return style.backgroundColor;
  }
  return "rgb(255, 255, 255)";
};
const look = frame => {
  const view = frame.contentWindow, page = view.document;
  page.querySelectorAll("details").forEach(details => { details.open = true; });
  const wide = page.documentElement.scrollWidth > page.documentElement.clientWidth;
  frame.style.height = page.documentElement.scrollHeight + 50 + "px";
  const anchors = [...page.querySelectorAll('a[href^="#"]')], weak = [];
  const walker = page.createTreeWalker(page.body, NodeFilter.SHOW_TEXT);
  let texts = 0, drawn = 0;
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    const range = page.createRange();
    range.selectNodeContents(node);
    const box = range.getClientRects()[0];
    if (!node.data.trim() || !box || !box.width || !node.parentElement.checkVisibility()) continue;
    const style = view.getComputedStyle(node.parentElement);
    const svg = node.parentElement.ownerSVGElement, colour = svg ? style.fill : style.color;
    const ground = behind(view, page, box.x + box.width / 2, box.y + box.height / 2);
    texts += 1;
    drawn += svg ? 1 : 0;
    const ratio = contrast(colour, ground);
    if (ratio < %s) weak.push(`${node.data.trim().slice(0, 30)}: ${colour} on ${ground}`);
  }
  const loaded = view.performance.getEntriesByType("resource").map(entry => entry.name);
  return {
    wide, texts, drawn, weak, anchors: anchors.length,
    requests: loaded.filter(name => !/^(file|data):/.test(name)),
    lost: anchors.filter(a => !page.getElementById(decodeURIComponent(a.hash.slice(1)))).length,
    pictures: page.querySelectorAll("svg[role=img][aria-label]").length,
  };
};
onload = () => {
  const found = [...document.querySelectorAll("iframe")].map(frame => [frame.title, look(frame)]);
  document.getElementById("said").textContent = JSON.stringify(Object.fromEntries(found));
};
</script>"""


def _chromium(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    if CHROMIUM is None:
        assert not os.environ.get("CI"), "there is no Chromium; bootstrap installs it for tests"
        pytest.skip("needs Chromium")
    return subprocess.run(
        [
            *(CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run"),
            *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
            *(f"--user-data-dir={folder / 'user'}", *arguments),
        ],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )


def _pages(folder: Path) -> dict[str, tuple[str, int]]:
    """Pages by name, and how wide each is to be looked at."""
    tests = {"bound": ("passed", ""), "viable": ("failed", f"E   it {'is long ' * 40}")}
    long = records.write(folder / "run", tests, exit_status=1, profile={"name": "w" * 60})
    runs = (kept.passed(), kept.failed(), long)
    hosts = [read(run) for run in runs]
    with opened(folder / "history.sqlite") as history:
        for run in runs:
            history.add(run)
        return {
            "passed en": (kept.page("passed"), PHONE),
            "failed zh": (kept.page("failed", "zh"), DESK),
            "trend en": (trend.page(history, lab=history.lab(long)), PHONE),
            "trend zh": (trend.page(history, "zh", history.lab(kept.failed())), DESK),
            "fleet en": (fleet.page(hosts, folder), PHONE),
            "fleet zh": (fleet.page(hosts, folder, "zh"), DESK),
        }


def test_in_chromium(tmp_path: Path) -> None:
    """No error on the console, nothing fetched, nothing too wide, and every text stands out."""
    frames = ""
    pages = _pages(tmp_path)
    for name, (text, width) in pages.items():
        path = tmp_path / f"{name.replace(' ', '-')}.html"
        path.write_text(text, encoding="utf-8")
        frames += f'<iframe title="{name}" src="{path.name}" style="width:{width}px"></iframe>'
    watch = tmp_path / "watch.html"
    watch.write_text(WATCH % (frames, AA), encoding="utf-8")
    access = ("--allow-file-access-from-files", "--enable-logging=stderr", "--dump-dom")
    done = _chromium(tmp_path, *access, f"file://{watch}")
    assert "CONSOLE" not in done.stderr, done.stderr
    said = re.search(r'<pre id="said">(\{.*\})</pre>', done.stdout)
    assert said, done.stdout[-2000:]
    found: dict[str, dict[str, Any]] = json.loads(said[1])
    assert {*found} == {*pages}
    for name, seen in found.items():
        assert (name, seen["weak"]) == (name, [])
        assert (name, seen["wide"], seen["requests"], seen["lost"]) == (name, False, [], 0)
        assert seen["texts"] > 30
        if not name.startswith("fleet"):
            assert seen["pictures"] >= 1
            assert seen["drawn"] >= 4
        assert not name.startswith(("passed", "failed")) or seen["anchors"] > 200


def test_it_prints_on_a4(tmp_path: Path) -> None:
    page, pdf = tmp_path / "page.html", tmp_path / "page.pdf"
    page.write_text(kept.page("failed", "zh"), encoding="utf-8")
    _chromium(tmp_path, "--no-pdf-header-footer", f"--print-to-pdf={pdf}", f"file://{page}")
    boxes = re.findall(rb"/MediaBox\s*\[0 0 ([\d.]+) ([\d.]+)\]", pdf.read_bytes())
    assert {(round(float(width)), round(float(height))) for width, height in boxes} == {A4}
    assert 5 < len(boxes) < 18
