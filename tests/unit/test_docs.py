"""The pages in English and Chinese are in step."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.unit.mini import ROOT

DOCS, CHINESE = ROOT / "docs", ROOT / "docs" / "zh"
PAIRS = [(ROOT / "README.md", ROOT / "README.zh-CN.md")]
PAIRS += [(DOCS / path.name, path) for path in sorted(CHINESE.glob("*.md"))]
# In English alone, and why.
ALONE = {
    "cases.md": "made of tests, for who changes the project",
    "faults.md": "made of tests, for who changes the project",
    "mistakes.md": "the messages themselves, which are English",
    "performance.md": "for who changes the project",
    "glossary.md": "has each word in both",
}
GENERATED = "## Attacks and crashes"  # of docs/security.md: made of tests, and in English alone
FIGURE = re.compile(r"(?<![\w.])\d+(?:[.,]\d+)*")


@dataclass
class Section:
    """A heading's level, the commands in its blocks, its code, figures and links."""

    level: int
    commands: list[str]
    code: set[str]
    figures: set[str]
    links: set[str]


def sections(text: str) -> list[Section]:
    """The page, heading by heading."""
    return [*_sections(text)]


def _sections(text: str) -> Iterator[Section]:
    prose, section, block = "", Section(0, [], set(), set(), set()), ""
    for line in [*text.splitlines(), "# end"]:
        if line.startswith("```"):
            block = "" if block else line
        elif block:
            section.commands.append(re.sub(r"(?:^|\s+)#\s.*", "", line))  # comments are translated
        elif heading := re.match(r"(#+) ", line):
            section.figures |= {*FIGURE.findall(re.sub(r"\]\([^)]*\)", "]", prose))}
            section.code |= {" ".join(code.split()) for code in re.findall("`([^`]+)`", prose)}
            section.links |= {*map(_target, re.findall(r"\]\(([^)]+)\)", prose))}
            yield section
            prose, section = "", Section(len(heading[1]), [], set(), set(), set())
        else:
            prose += f"\n{line}"


def _target(link: str) -> str:
    """What both languages' pages lead to, wherever they stand; headings differ."""
    link = link.partition("#")[0] if not link.startswith("http") else link
    return re.sub(r"^(?:\.\./)*(?:docs/)?(?:zh/)?", "", link).replace(".zh-CN.md", ".md")


@pytest.mark.parametrize(("english", "chinese"), PAIRS, ids=lambda path: path.name)
def test_a_page_says_the_same_in_both_languages(english: Path, chinese: Path) -> None:
    ours = sections(english.read_text("utf-8").partition(GENERATED)[0])
    theirs = sections(chinese.read_text("utf-8").partition("## 攻击与崩溃")[0])
    assert [one.level for one in ours] == [one.level for one in theirs]
    for one, other in zip(ours, theirs, strict=True):
        assert one.commands == other.commands
        assert one.code == other.code
        assert one.figures == other.figures
        assert one.links == other.links


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("## Two", "### Two"),
        ("--cycles 20", "--cycles 21"),
        ("in 3 min", "in 4 min"),
        ("`-x`", "`-v`"),
        ("[a](x.md)", "[a](y.md)"),
    ],
)
def test_a_difference_is_seen(old: str, new: str) -> None:
    text = "# One\n\n[a](x.md) in 3 min, `-x`\n\n## Two\n\n```sh\npytest --cycles 20  # all\n```\n"
    same = text.replace("# all", "# 全部").replace("One", "一")
    assert sections(same) == sections(text)
    assert sections(text.replace(old, new)) != sections(text)


def test_every_page_is_in_both_languages_or_says_why_not() -> None:
    chinese = {path.name for path in CHINESE.glob("*.md")}
    assert {path.name for path in DOCS.glob("*.md")} == chinese | ALONE.keys()
    assert not chinese & ALONE.keys()


@pytest.mark.parametrize(("english", "chinese"), PAIRS, ids=lambda path: path.name)
def test_each_leads_to_the_other(english: Path, chinese: Path) -> None:
    for here, there in ((english, chinese), (chinese, english)):
        lines = here.read_text("utf-8").splitlines()
        [link] = re.findall(r"^\[(?:English|简体中文)\]\((.*)\)$", lines[2])
        assert (here.parent / link).resolve() == there
