"""``python -m vlab faults``: list the catalogue, try faults on a lab, write what came of it.

And write the pages of what to do about each, which need no lab.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from textwrap import shorten

from vlab.errors import VlabError
from vlab.faults import Fault, load, on_lab, troubleshooting
from vlab.faults.on_lab import Found

PAGE = Path(__file__).parents[2] / "docs" / "faults.md"
WHY = 300  # characters of a row
HEADING = "## On the virtual lab\n"
HEAD = """
Made by `python -m vlab faults matrix` ({date}, {minutes:.0f} min): each is set off on a virtual
lab, the suites run as a user starts them, and it is taken back. **{caught} of {count} are caught.**

| fault | clause | verdict | seconds |
| --- | --- | --- | --- |
"""


def declare(parser: argparse.ArgumentParser) -> None:
    """Declare the actions and their options."""
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    listing = actions.add_parser("list", help="all faults: clause, forms, what is wrong")
    running = actions.add_parser("run", help="try these on a lab; 0 if all are caught, else 1")
    running.add_argument("name", nargs="+", metavar="NAME", help="of a fault with a lab form")
    matrix = actions.add_parser(
        "matrix", help="try all that have a lab form, and write docs/faults.md: hours"
    )
    advising = actions.add_parser(
        "troubleshooting", help="write docs/troubleshooting.md, in both languages"
    )
    chosen = ((listing, _list), (running, _run), (matrix, _matrix), (advising, _advise))
    for sub, carry_out in chosen:
        sub.set_defaults(carry_out=carry_out)
    for sub in (running, matrix):
        sub.add_argument("--lab", default="", metavar="NAME", help="one that is up; else its own")


def _list(_: argparse.Namespace) -> None:
    for fault in load():
        forms = ["replay"] * fault.replayed + ["lab"] * (fault.lab is not None)
        where = fault.clause or fault.suite
        print(f"{fault.name:<32}{where:<26}{' + '.join(forms):<14}{fault.title}")


def _advise(_: argparse.Namespace) -> None:
    for language, page in troubleshooting.PAGES.items():
        page.write_text(troubleshooting.page(load(), language), encoding="utf-8")
        print(page)


def _run(arguments: argparse.Namespace) -> int:
    known = {fault.name: fault for fault in load() if fault.lab is not None}
    unknown = [name for name in arguments.name if name not in known]
    if unknown:
        raise VlabError(f"no fault with a lab form: {', '.join(unknown)}; see 'vlab faults list'")
    return _worst(_tried([known[name] for name in arguments.name], arguments.lab))


def _matrix(arguments: argparse.Namespace) -> int:
    began = time.monotonic()
    found = _tried([fault for fault in load() if fault.lab is not None], arguments.lab)
    text = PAGE.read_text("utf-8").partition(HEADING)[0].rstrip()
    section = matrix_section(found, (time.monotonic() - began) / 60)
    PAGE.write_text(f"{text}\n\n{section}", encoding="utf-8")
    return _worst(found)


def matrix_section(found: Sequence[Found], minutes: float) -> str:
    """The page's section about what was tried on a lab."""
    caught = sum(not one.why for one in found)
    date = datetime.now(UTC).date()
    head = HEAD.format(date=date, minutes=minutes, caught=caught, count=len(found))
    return f"{HEADING}{head}{''.join(map(_row, found))}"


def _row(one: Found) -> str:
    said = (
        f"not caught: {shorten(' '.join(one.why), WHY, placeholder=' …')}" if one.why else "caught"
    )
    fault = one.fault
    cells = (f"{fault.title} (`{fault.name}`)", fault.clause or "-", said, f"{one.seconds:.0f}")
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |\n"


def _tried(wanted: Sequence[Fault], lab: str) -> list[Found]:
    found = []
    for one in on_lab.each(wanted, lab, _say):
        found.append(one)
        print(f"{len(found)} of {len(wanted)}: {one}", flush=True)
    print(f"{sum(not one.why for one in found)} of {len(found)} are caught")
    return found


def _worst(found: Sequence[Found]) -> int:
    return int(any(one.why for one in found))


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
