"""The fault catalogue, set off on the replayed lab: `python -m tests.faults [NAME ...]`.

It runs the real suites once for each fault of vlab/faults, or for those named, and says why which
of them are not caught. Without a name it writes docs/faults.md; with --json it prints the verdicts.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from vlab.faults import Fault, load
from vlab.faults.command import HEADING, PAGE
from vlab.faults.verdict import FAILED, suites, verdict

ROOT = Path(__file__).parents[1]
HEAD = """# Faults, and the clause that tells of each

Made by `python -m tests.faults`: the real suites run on a lab host that answers from a record, and
that has one of the faults of `vlab/faults`; those with a form on the virtual lab are tried there by
`tox -e faults`, which writes the last section. A fault is caught if the clause that is meant fails,
and no other but what rests on the same; if its message names the cause; if all that does not depend
on it is assessed as in a good run; and if each change is taken back. What the harness itself goes
through (a connection that is cut, a command that hangs) may have no clause.

Sources: a *trap* is one of the guide's own mistakes, by its number in our list of 44; *domain
facts* are the chapters behind that list; *review of faults* has the row of a fault that was set off
on the virtual lab; `name #number` is a report upstream.
"""
OPTIONS = [
    "-p",
    "no:cacheprovider",
    "-p",
    "no:xdist",
    "-p",
    "no:warnings",
    "--tb=native",
    "-q",
    "-p",
    "no:logging",
]

Verdicts = Mapping[str, Sequence[str]]  # by a fault's name, why it is not caught


def replayed() -> list[Fault]:
    """The faults that have a form on the replayed host."""
    return [fault for fault in load() if fault.replayed]


def verdicts(wanted: Sequence[Fault]) -> Verdicts:
    """Set off each fault, and judge what the run made of it."""
    from tests.sample import alarm
    from tests.unit import fault_host, faulty

    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(ROOT):
        wanted = [fault_host.named(fault) for fault in wanted]
        all_runs = faulty.Replayed(Path(folder), wanted)
        with contextlib.redirect_stdout(sys.stderr):
            pytest.main(["suites", "-m", "acceptance and not local", *OPTIONS], [all_runs, alarm])
        good = all_runs.ran[""]
        found = {
            fault.name: verdict(fault, all_runs.ran[fault.name], good, suites(fault))
            for fault in wanted
        }
        bad = [f"{n}: {t['message']}" for n, t in good.tests.items() if t["outcome"] in FAILED]
    return {"": [*bad, *good.unclean, *good.mistakes], **found}


def page(wanted: Sequence[Fault], found: Verdicts) -> str:
    """The page's text."""
    caught = sum(not found[fault.name] for fault in wanted)
    parts = [f"{HEAD}\n**{caught} of {len(wanted)} are caught.**"]
    for suite in sorted({fault.suite for fault in wanted}):
        rows = [_row(fault, not found[fault.name]) for fault in wanted if fault.suite == suite]
        table = ["| fault | source | clause | verdict |", "| --- | --- | --- | --- |", *rows]
        parts.append("\n".join([f"## {suite}\n", *table]))
    return "\n\n".join(parts) + "\n"


def _row(fault: Fault, caught: bool) -> str:
    said = "caught" if caught else f"not caught: {fault.missed or 'a bug of the harness'}"
    cells = (f"{fault.title} (`{fault.name}`)", fault.source, fault.clause or "-", said)
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def main(args: Sequence[str]) -> int:
    """Print the verdicts; 1 where something is not caught."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("name", nargs="*", help="a fault's, by default all")
    parser.add_argument("--json", action="store_true", help="print the verdicts as JSON")
    given = parser.parse_args(args)
    wanted = [fault for fault in replayed() if not given.name or fault.name in given.name]
    began = time.monotonic()
    found = verdicts(wanted)
    if given.json:
        print(json.dumps(found))
        return 0
    for name, why in found.items():
        if why:
            print(f"{name or 'without a fault'}:", *why, sep="\n    ")
    caught = sum(not found[fault.name] for fault in wanted)
    print(f"{caught} of {len(wanted)} are caught, in {time.monotonic() - began:.0f} s")
    if not given.name:
        _, heading, lab = PAGE.read_text("utf-8").partition(HEADING)  # another command's
        text = page(wanted, found) + (f"\n{heading}{lab}" if heading else "")
        PAGE.write_text(text, encoding="utf-8")
    return int(any(found.values()))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
