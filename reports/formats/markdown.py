"""summary.md: a run in at most ten lines, for a chat channel or a mail.

Whatever the record says stands in code spans, in which no Markdown, no HTML and no mention of a
user means anything (CommonMark 6.1). A backtick in it is shown as an apostrophe: chats know no
longer fence.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from harness.text import head, readable
from reports.html.headline import headline
from reports.record import verdict
from reports.record.figures import figures, quantity
from reports.record.measures import figure, host, measures, stage_measure, units
from reports.record.record import Record
from reports.texts.texts import translator

NAMES = 4  # of a kind; of more their number is told
LENGTH = 200  # characters of one text

Text = Callable[[str], str]


def document(record: Record, language: str, report: Path) -> str:
    """The content of summary.md; `report` is where report.html is, on the runner."""
    text = translator(language)
    rest = (f"- {line}" for line in _lines(record, text, report))
    return "\n".join([_title(record, text), *rest]) + "\n"


def code(value: object) -> str:
    """A text of others, as a code span in one line."""
    line = " ".join(readable(str(value)).split()).replace("`", "'")
    return f"`{head(line, LENGTH) or '-'}`"


def _title(record: Record, text: Text) -> str:
    whole, minutes = verdict.overall(record), divmod(int(record.seconds), 60)
    where = dict.fromkeys([record.profile["name"], host(record) or record.profile["name"]])
    took = text("duration").format(minutes=minutes[0], seconds=minutes[1])
    when = f"{record.started:%Y-%m-%d %H:%M} UTC"
    parts = [text("and_then").join(map(code, where)), when, took]
    said = text("comma").join(parts)
    return f"**{text(f'verdict_{whole.verdict}')}**{text('colon')}{said}"


def _lines(record: Record, text: Text, report: Path) -> Iterator[str]:
    yield headline(record, text)
    if record.standins:
        yield text("standins_of").format(names=_names(record.standins, text))
    if failure := record.first_failure:
        yield _row("first_failure", f"{code(failure.subject)} {code(failure.cause[0])}", text)
        hints = (line for line in failure.cause if line.startswith("hint: "))
        if hint := next(hints, ""):
            yield _row("hint", code(hint.removeprefix("hint: ")), text)
    if news := record.facts.get("news"):
        yield from _news(news, text)
    if found := _figures(record, text):
        yield _row("figures", _names(found, text), text)
    where = code(f"{record.start.get('runner', '')}:{report}")
    status = "-" if record.exit_status is None else f"{record.exit_status} {text(record.exit_name)}"
    more = f"{text('exit_status')} {status}"
    yield _row("report", text("noted").format(what=where, more=more), text)


def _news(news: dict[str, Any], text: Text) -> Iterator[str]:
    known = _names(news["known"], text) if news["known"] else ""
    if news["failures"]:
        key = "new_failures" if news["earlier"] else "all_new"
        new = _row(key, _names(news["failures"], text), text)
        yield text("stop").join([new, _row("known_failures", known, text)]) if known else new
    elif known:
        yield _row("known_failures", known, text)
    if news["passes"]:
        yield _row("new_passes", _names(news["passes"], text), text)
    if news["slower"]:
        yield _row("slower", _names([_worse(one, text) for one in news["slower"]], text), text)


def _worse(one: dict[str, Any], text: Text) -> str:
    usual = text("usually").format(low=f"{one['low']:.4g}", high=f"{one['high']:.4g}")
    what = f"{figure(one['name'], text)} {one['value']:.4g}"
    return text("noted").format(what=what, more=usual)


def _figures(record: Record, text: Text) -> list[str]:
    """What was measured, what is furthest below its expectation first; no stage's time."""
    stages, unit = {stage_measure(stage.name) for stage in record.stages}, units(record)
    expected = sorted((one for one in figures(record) if one.ratio), key=lambda one: one.ratio or 0)
    return [
        *(f"{text(one.id)} {quantity(one.value, one.unit)} ({one.ratio:.2f})" for one in expected),
        *(
            f"{figure(name, text)} {value:.4g} {text('unit_' + unit[name])}"
            for name, value in measures(record).items()
            if name not in stages
        ),
    ]


def _row(key: str, said: str, text: Text) -> str:
    return f"{text(key)}{text('colon')}{said}"


def _names(names: Sequence[str], text: Text) -> str:
    shown = [code(name) for name in names[:NAMES]]
    if more := len(names) - NAMES:
        shown += [text("and_more").format(count=more)] if more > 0 else []
    return text("comma").join(shown)
