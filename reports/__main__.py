"""``python -m reports``: make a run's documents again, or the page of all runs over time."""

from __future__ import annotations

import argparse
import io
import os
import sys
from pathlib import Path
from urllib.parse import quote

from harness.record.files import replace
from harness.record.revision import Version
from reports import documents
from reports.formats import summary
from reports.history import history, trend
from reports.record.integrity import check, noted
from reports.record.reading import load
from reports.record.record import Record, RecordError
from reports.texts.texts import LANGUAGES

RUNS = Path(__file__).parent / "runs"
HISTORY = Path(__file__).parent / history.FILE


def main() -> int:
    """Parse the command line and carry it out; returns the exit status.

    0: done; 1: done, and the record is altered or has no end; 2: it could not be done.
    """
    for stream in (sys.stdout, sys.stderr):  # whatever the terminal's encoding lacks
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    arguments = _parser().parse_args()
    try:
        return _render(arguments) if arguments.command == "render" else _trend(arguments)
    except (RecordError, history.HistoryError) as error:
        print(f"reports: {error}", file=sys.stderr)
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        print(f"reports: the record is none that a run has written: {error!r}", file=sys.stderr)
    except BrokenPipeError:  # whoever reads has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        print(f"reports: {_sentence(error)}", file=sys.stderr)
    return 2


def _sentence(error: Exception) -> str:
    if not isinstance(error, OSError):
        return f"{type(error).__name__}: {error}"
    what = f"'{error.filename}': {error.strerror}" if error.filename else str(error)
    return f"{what}; another place can be named with --out."


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m reports",
        description="Documents of acceptance runs, made from their records alone.",
    )
    parser.add_argument("--version", action=Version)
    commands = parser.add_subparsers(dest="command", required=True)
    render = commands.add_parser("render", help="make a run's documents again, and say its verdict")
    render.add_argument("run", nargs="?", default="last", help="id or folder (default: last)")
    render.add_argument("--out", type=Path, help="folder to write to (default: the run's own)")
    over_time = commands.add_parser("trend", help="make the page of a lab's runs over time")
    over_time.add_argument(
        "--out",
        type=Path,
        default=HISTORY.with_name("trend.html"),
        help="the page (default: reports/runs/trend.html)",
    )
    over_time.add_argument("--lab", help="default: the one that ran last; the page names all")
    over_time.add_argument("--add", nargs="*", default=[], metavar="RUN", help="runs to put in")
    for command in (render, over_time):
        command.add_argument("--lang", choices=LANGUAGES, default="en", help="default: en")
        command.add_argument("--history", type=Path, default=HISTORY, help="the SQLite file")
    return parser


def _folder(run: str) -> Path:
    """A run by its id under reports/runs, or by its path."""
    return RUNS / run if (RUNS / run).exists() else Path(run)


def _render(arguments: argparse.Namespace) -> int:
    record = load(_folder(arguments.run))
    out = arguments.out or record.folder
    integrity = check(record, _known(record, out, arguments.history))
    written = documents.write(record, integrity, out, arguments.lang)
    for line in summary.lines(integrity.of(record)):
        print(line)
    for problem in integrity.problems:
        print(f"ALTERED: {problem}", file=sys.stderr)
    if integrity.incomplete:
        print("INCOMPLETE: the record has no end: the run was cut off", file=sys.stderr)
    for name, error in written.failed.items():
        print(f"reports: {name} could not be made: {_sentence(error)}", file=sys.stderr)
    print(f"report: {written.report}")
    if written.failed:
        return 2
    return 0 if integrity.intact else 1


def _known(record: Record, out: Path, path: Path) -> dict[str, str]:
    """The digests of a run's record that were written down before, by where."""
    found = noted(record.id, record.folder, out)
    if path.is_file():
        try:
            with history.opened(path, readonly=True) as past:
                digest = past.digest(record.id)
        except history.HistoryError as error:  # the documents need the run's folder alone
            print(f"reports: {error} The digest in it is not compared.", file=sys.stderr)
        else:
            found |= {str(path): digest} if digest else {}
    return found


def _trend(arguments: argparse.Namespace) -> int:
    with history.opened(arguments.history) as known:
        for run in arguments.add:
            known.add(load(_folder(run)))
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        way = os.path.relpath(arguments.history.parent.resolve(), arguments.out.parent.resolve())
        base = "" if way == "." else f"{quote(os.fsencode(way))}/"
        text = trend.page(known, arguments.lang, arguments.lab, base=base)
        replace(arguments.out, text.encode())
    print(arguments.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
