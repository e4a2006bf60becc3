"""The fault catalogue, set off on the replayed lab: `python -m tests.faults [NAME ...]`.

It runs the real suites once for each fault of vlab/faults, or for those named, and says of each
whether it is caught, else why not. Without a name it writes docs/faults.md.
"""

from __future__ import annotations

import contextlib
import json
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from vlab.faults import Fault, load

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "faults.md"
HEAD = """# Faults, and the clause that tells of each

Made by `python -m tests.faults`: the real suites run on a lab host that answers from a record, and
that has one of the faults of `vlab/faults`. A fault is caught if the clause that is meant fails,
and no other but what rests on the same; if its message names the cause; if all that does not depend
on it is assessed as in a good run; and if each change is taken back.
"""
OPTIONS = ["-p", "no:cacheprovider", "-p", "no:xdist", "-p", "no:warnings", "--tb=native", "-q"]

Verdicts = Mapping[str, Sequence[str]]  # by a fault's name, why it is not caught


def verdicts(wanted: Sequence[Fault]) -> Verdicts:
    """Set off each fault, and judge what the run made of it."""
    from tests.unit import faulty

    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(ROOT):
        wanted = [faulty.named(fault) for fault in wanted]
        replayed = faulty.Replayed(Path(folder), wanted)
        with contextlib.redirect_stdout(sys.stderr):
            pytest.main(["suites", "-m", "acceptance and not local", *OPTIONS], [replayed])
        good = replayed.ran[""]
        found = {fault.name: faulty.verdict(fault, replayed.ran[fault.name], good) for fault in wanted}
        bad = [f"{n}: {t['message']}" for n, t in good.tests.items() if t["outcome"] in faulty.FAILED]
    return {"": [*bad, *good.unclean, *good.mistakes], **found}


def page(wanted: Sequence[Fault], found: Verdicts) -> str:
    """The page's text."""
    caught = sum(not found[fault.name] for fault in wanted)
    parts = [f"{HEAD}\n{caught} of {len(wanted)} are caught."]
    for suite in sorted({fault.suite for fault in wanted}):
        rows = [_row(fault, not found[fault.name]) for fault in wanted if fault.suite == suite]
        table = ["| fault | source | clause | verdict |", "| --- | --- | --- | --- |", *rows]
        parts.append("\n".join([f"## {suite}\n", *table]))
    return "\n\n".join(parts) + "\n"


def _row(fault: Fault, caught: bool) -> str:
    said = "caught" if caught else f"not caught: {fault.missed or 'a bug of the harness'}"
    cells = (f"{fault.title} (`{fault.name}`)", fault.source, fault.clause or "-", said)
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def main(names: Sequence[str]) -> int:
    """Print the verdicts; 1 where a fault is not caught that is not marked so."""
    wanted = [fault for fault in load() if not names or fault.name in names]
    began = time.monotonic()
    found = verdicts(wanted)
    if names[:1] == ["--json"]:
        print(json.dumps(found))
        return 0
    for name, why in found.items():
        if why:
            print(f"{name or 'without a fault'} is not caught:", *why, sep="\n    ")
    seconds = time.monotonic() - began
    print(f"{sum(not why for why in found.values())} of {len(found)}, {seconds:.0f} s")
    if not names:
        PAGE.write_text(page(wanted, found), encoding="utf-8")
    return int(any(found.values()))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
