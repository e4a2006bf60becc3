"""The pages for who has a failure: by what a message says its cause, and what to do."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Sequence
from pathlib import Path

from vlab.faults import Fault

DOCS = Path(__file__).parents[2] / "docs"
PAGES = {"en": DOCS / "troubleshooting.md", "zh": DOCS / "zh" / "troubleshooting.md"}
HEADS = {
    "en": """# Troubleshooting

[简体中文](zh/troubleshooting.md)

Made by `python -m vlab faults troubleshooting` of the fault catalogue, `vlab/faults`: a run
has to tell of each in these words, and [faults.md](faults.md) says what was tried.

Take the words of the *first failure*: they stand at the end of the run's output, and at the top of
its report. Look for some of them here, with the browser's own search; `…` stands for what differs
from lab to lab. Tables are by suite, in the guide's order. What an exit status means is in
[commands.md](commands.md#exit-statuses), what mistakes in a profile are told in
[mistakes.md](mistakes.md). The evidence is in `reports/runs/last/evidence/`.
""",
    "zh": """# 故障排查

[English](../troubleshooting.md)

由 `python -m vlab faults troubleshooting` 根据故障目录 `vlab/faults` 生成：
运行必须用表中的原话报告每种故障；已触发验证过的见 [faults.md](../faults.md)。

取*首个失败*中的原话：它在运行输出的末尾，也在报告的开头。用浏览器自带的查找功能在本页查找其中几个词；
`…` 代表因实验环境而异的内容。表格按套件排列，顺序与指南相同。
退出码的含义见 [commands.md](commands.md#退出码)，配置写错时的提示见 [mistakes.md](../mistakes.md)。
证据在 `reports/runs/last/evidence/` 中。
""",
}
COLUMNS = {
    "en": ("the message says", "cause", "what to do"),
    "zh": ("信息中有", "原因", "处理办法"),
}


def page(faults: Sequence[Fault], language: str) -> str:
    """The page's text; faults that are to be borne have no message, and no row."""
    parts = [HEADS[language].strip()]
    for suite in _in_order({fault.suite for fault in faults}):
        rows = [_row(fault, language) for fault in faults if fault.suite == suite and fault.exit]
        table = [_cells(COLUMNS[language]), "| --- | --- | --- |", *rows]
        parts += [f"## {suite}", "\n".join(table)]
    return "\n\n".join(parts) + "\n"


def _in_order(suites: Iterable[str]) -> list[str]:
    """As the guide has them: by the first of their clauses."""
    clauses = tomllib.loads((DOCS / "clauses.toml").read_text("utf-8"))["clause"]
    order = [clause["id"].partition(".")[0] for clause in clauses]
    return sorted(suites, key=order.index)


def _row(fault: Fault, language: str) -> str:
    said = [re.sub(r"\$\w+", "…", text) for text in fault.says or [fault.left]]
    title, advice = (fault.title, fault.advice) if language == "en" else fault.zh
    return _cells((" … ".join(f"`{text}`" for text in said), title, advice))


def _cells(texts: Sequence[str]) -> str:
    return f"| {' | '.join(text.replace('|', chr(92) + '|') for text in texts)} |"
