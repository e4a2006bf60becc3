"""What MkDocs does not know of Chinese pages: their language, and that a line's end is no blank."""

from __future__ import annotations

import re
from typing import Any

CHINESE = ("docs/zh/", "README.zh-CN.md")
BETWEEN = re.compile(r"(?<=[^\x00-\x7f])\n(?=[^\x00-\x7f])")


def on_page_markdown(markdown: str, page: Any, config: object, files: object) -> str:
    """Join the lines of a Chinese paragraph: a browser would put a blank between them."""
    return BETWEEN.sub("", markdown) if _is_chinese(page) else markdown


def on_post_page(output: str, page: Any, config: object) -> str:
    """Call the page Chinese, by which a browser chooses fonts; the theme takes one for all."""
    return output.replace('lang="en"', 'lang="zh-CN"', 1) if _is_chinese(page) else output


def _is_chinese(page: Any) -> bool:
    return bool(page.file.src_uri.startswith(CHINESE))
