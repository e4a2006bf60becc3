"""What MkDocs does not know: a page's own language, by which a browser chooses fonts."""

from __future__ import annotations

from typing import Any

CHINESE = ("docs/zh/", "README.zh-CN.md")


def on_post_page(output: str, page: Any, config: object) -> str:
    """Call the page Chinese if it is; the theme takes one language for all."""
    if page.file.src_uri.startswith(CHINESE):
        return output.replace('lang="en"', 'lang="zh-CN"', 1)
    return output
