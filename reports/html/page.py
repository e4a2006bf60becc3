"""Templates and language of all pages."""

from __future__ import annotations

from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined


@cache
def environment() -> Environment:
    """jinja2 with the templates of this package; every value is escaped, none may be missing."""
    return Environment(
        loader=PackageLoader("reports.html.html"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )


def language_tag(language: str) -> str:
    """The language as HTML's `lang` wants it."""
    return {"en": "en", "zh": "zh-CN"}[language]
