"""Templates and language of all pages."""

from __future__ import annotations

import re
import shlex
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from reports.texts.texts import translator


@cache
def environment() -> Environment:
    """jinja2 with the templates of this package; every value is escaped, none may be missing."""
    made = Environment(
        loader=PackageLoader("reports.html.html"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    made.filters["shell"] = shlex.quote  # a word of a line to paste
    made.filters["css"] = lambda text: re.sub(r"[^\w .:-]", "_", text)  # within a string of CSS's
    return made


def language_tag(language: str) -> str:
    """The language as HTML's `lang` wants it."""
    return {"en": "en", "zh": "zh-CN"}[language]


def rendered(template: str, language: str, **words: Any) -> str:
    """A page of a template, in a language; `words` are what it names beside `language` and `t`."""
    page = environment().get_template(template)
    return page.render(language=language_tag(language), t=translator(language), **words)
