"""The page of a fleet, and its lines for a terminal: both of the records alone."""

from __future__ import annotations

import os
import shlex
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from harness.record.files import replace
from reports.fleet import hosts as fleet
from reports.fleet.differences import Difference, differences
from reports.fleet.hosts import Host
from reports.formats.columns import cut, wrapped
from reports.formats.summary import WIDTH
from reports.html.page import rendered
from reports.texts.texts import TEXTS, translator

NAME = "fleet.html"
KINDS = (fleet.PASSED, fleet.FAILED, fleet.OPEN)
MOST = 12  # conditions that are shown of a failure
NAMES = 8  # hosts that are named of a value, and of a failure in a terminal
TELLING = 3  # conditions that a terminal names


@dataclass(frozen=True)
class Failure:
    """What failed first on some hosts, and what these have that those that passed have not."""

    subject: str
    hosts: Sequence[Host]
    telling: Sequence[Difference]


def failures(hosts: Sequence[Host]) -> list[Failure]:
    """Every failure, the most frequent first, held against all hosts that passed."""
    passed = [one for one in hosts if one.kind == fleet.PASSED]
    return [
        Failure(subject, ones, differences(ones, passed))
        for subject, ones in fleet.by_failure(hosts).items()
    ]


def write(hosts: Sequence[Host], out: Path, language: str = "en") -> None:
    """Write the page, whole or not at all. OSError."""
    out.parent.mkdir(parents=True, exist_ok=True)
    replace(out, page(hosts, out.parent, language).encode())


def page(hosts: Sequence[Host], place: Path, language: str = "en") -> str:
    """The page as HTML; `place` is the folder that it is to lie in."""
    text = translator(language)
    labels = {name: label for one in hosts for name, label in one.labels.items()}
    return rendered(
        "fleet.html.j2",
        language,
        hosts=fleet.ordered(hosts),
        kinds=KINDS,
        counts=Counter(one.kind for one in hosts),
        failures=failures(hosts),
        notes=[text(key).format(**values) for key, values in fleet.notes(hosts)],
        label=lambda name: _label(name, labels if language == "zh" else {}, text),
        link=lambda one: _link(one, place),
        again=shlex.join(["python", "-m", "reports", "fleet", *(one.run for one in hosts)]),
        most=MOST,
        some=NAMES,
    )


def _label(name: str, labels: Mapping[str, str], text: Callable[[str], str]) -> str:
    """A condition in the page's language; a value of the profile by its key."""
    key = f"condition_{name}"
    return text(key) if key in TEXTS else labels.get(name, name)


def _link(one: Host, place: Path) -> str:
    """The way from a folder to a run's own report; '' where that is not there."""
    report = one.folder / "report.html"
    if not report.exists():
        return ""
    return quote(os.fsencode(os.path.relpath(report.resolve(), place.resolve())))


def said(one: Host) -> str:
    """How a host's run went and, where it did not go well, why."""
    stage = one.subject.startswith("stage ")  # which the cause names itself
    why = ": ".join(filter(None, ("" if stage else one.subject, one.why(translator("en")))))
    return f"{one.verdict:<13} {why}".rstrip()


def lines(hosts: Sequence[Host]) -> Iterator[str]:
    """A line for each host, the most telling conditions of each failure, and the counts."""
    text = translator("en")
    yield from (cut(f"{one.lab:<16} {said(one)}", WIDTH) for one in fleet.ordered(hosts))
    for one in failures(hosts):
        names = ", ".join(host.lab for host in one.hosts[:NAMES])
        more = f" and {len(one.hosts) - NAMES} more" if len(one.hosts) > NAMES else ""
        yield from wrapped(f"first failure of {names}{more}: {one.subject}", WIDTH, "  ")
        for telling in one.telling[:TELLING]:
            worst = telling.values[0]
            counts = f"{len(worst.failed)} failed, {len(worst.passed)} passed"
            yield from wrapped(f"  {telling.name} = {worst.text}: {counts}", WIDTH, "    ")
    for key, values in fleet.notes(hosts):
        yield from wrapped(text(key).format(**values), WIDTH, "  ")
    kinds = Counter(one.kind for one in hosts)
    counted = [f"{kinds[kind]} {text(f'fleet_{kind}')}" for kind in KINDS if kinds[kind]]
    several = "host" if len(hosts) == 1 else "hosts"
    yield from wrapped(f"{len(hosts)} {several}: {', '.join(counted)}", WIDTH, "  ")
