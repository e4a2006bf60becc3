"""``python -m reports``: a run's documents again, pages of many runs and hosts, old runs gone."""

from __future__ import annotations

import argparse
import io
import os
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import quote

from harness.reader import may_leave
from harness.record.files import replace
from harness.record.revision import Version
from reports import documents
from reports.fleet import hosts as fleet
from reports.fleet import page as fleet_page
from reports.formats import summary
from reports.history import history, retention, trend
from reports.html import lanes, told
from reports.record.integrity import check, noted
from reports.record.reading import RUNS, folder, load
from reports.record.record import Record, RecordError
from reports.record.timeline import timeline
from reports.texts.texts import LANGUAGES, translator

HISTORY = Path(__file__).parent / history.FILE


def main() -> int:
    """Parse the command line and carry it out; returns the exit status.

    0: done; 1: done, and the record is altered or has no end; 2: it could not be done.
    """
    for stream in (sys.stdout, sys.stderr):  # whatever the terminal's encoding lacks
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    work = {
        "render": _render,
        "timeline": _timeline,
        "trend": _trend,
        "fleet": _fleet,
        "prune": _prune,
    }
    try:
        with may_leave():
            arguments = _parser().parse_args()
            return work[arguments.command](arguments)
    except (RecordError, history.HistoryError) as error:
        print(f"reports: {error}", file=sys.stderr)
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        print(f"reports: the record is none that a run has written: {error!r}", file=sys.stderr)
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
    time = commands.add_parser(
        "timeline",
        help="say and draw where a run's time went: its critical path, what was waited for",
    )
    time.add_argument("run", nargs="?", default="last", help="id or folder (default: last)")
    time.add_argument("--text", action="store_true", help="only say it")
    time.add_argument("-o", "--out", type=Path, help="the page (default: timeline.html of the run)")
    time.add_argument("--lang", choices=LANGUAGES, default="en", help="default: en")
    over_time = commands.add_parser("trend", help="make the page of a lab's runs over time")
    over_time.add_argument(
        "--out",
        type=Path,
        default=HISTORY.with_name("trend.html"),
        help="the page (default: reports/runs/trend.html)",
    )
    over_time.add_argument("--lab", help="default: the one that ran last; the page names all")
    over_time.add_argument("--add", nargs="*", default=[], metavar="RUN", help="runs to put in")
    many = commands.add_parser("fleet", help="make the page of several hosts, a row for each")
    many.add_argument("runs", nargs="+", metavar="RUN", help="id or folder, or a folder of runs")
    many.add_argument(
        "--out", type=Path, default=HISTORY.with_name(fleet_page.NAME), help="the page"
    )
    prune = commands.add_parser(
        "prune",
        help="delete old runs; what is still needed stays, and is named",
        description="Delete the folders of old runs. One stays that may have changes on its host,"
        " that the history does not have, or to which the trend page leads, as to the last good.",
    )
    prune.add_argument("--keep", type=_count, metavar="N", help="the newest N of each lab stay")
    prune.add_argument("--days", type=_count, metavar="N", help="those of the last N days stay")
    prune.add_argument("--dry-run", action="store_true", help="only say what would be deleted")
    prune.add_argument("--runs", type=Path, default=RUNS, help="default: reports/runs")
    for command in (render, over_time, many):
        command.add_argument("--lang", choices=LANGUAGES, default="en", help="default: en")
    for command in (render, over_time):
        command.add_argument("--history", type=Path, default=HISTORY, help="the SQLite file")
    return parser


def _count(text: str) -> int:
    if not text.isascii() or not text.isdigit():
        raise argparse.ArgumentTypeError(f"expected a number such as 30, found '{text}'")
    return int(text)


def _render(arguments: argparse.Namespace) -> int:
    record = load(folder(arguments.run))
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


def _timeline(arguments: argparse.Namespace) -> int:
    record, text = load(folder(arguments.run)), translator(arguments.lang)
    integrity = check(record)
    for line in told.lines(timeline(record), text):
        print(line)
    if not arguments.text:
        out = arguments.out or record.folder / "timeline.html"
        replace(out, lanes.page(record, arguments.lang).encode())
        print(f"\n{out}")
    for problem in integrity.problems:
        print(f"ALTERED: {problem}", file=sys.stderr)
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
            known.add(load(folder(run)))
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        way = os.path.relpath(arguments.history.parent.resolve(), arguments.out.parent.resolve())
        base = "" if way == "." else f"{quote(os.fsencode(way))}/"
        text = trend.page(known, arguments.lang, arguments.lab, base=base, there=_there(arguments))
        replace(arguments.out, text.encode())
    print(arguments.out)
    return 0


def _fleet(arguments: argparse.Namespace) -> int:
    given = [path for run in arguments.runs for path in fleet.runs(folder(run))]
    found = fleet.read_all(given)
    fleet_page.write(found, arguments.out, arguments.lang)
    for line in fleet_page.lines(found):
        print(line)
    print(f"page: {arguments.out}")
    return 0 if all(one.whole for one in found) else 1


def _there(arguments: argparse.Namespace) -> Callable[[str], bool]:
    """Whether a run's report is there, and was not pruned."""
    place: Path = arguments.history.parent
    return lambda run: (place / run / "report.html").exists()


def _prune(arguments: argparse.Namespace) -> int:
    place, days = arguments.runs, arguments.days
    if arguments.keep is None and days is None:
        print("reports: say which runs stay: --keep N, --days N, or both", file=sys.stderr)
        return 2
    if not place.is_dir():
        print(f"reports: there are no runs in '{place}'", file=sys.stderr)
        return 2
    since = None if days is None else datetime.now(UTC) - timedelta(days=days)
    with history.opened(place / history.FILE.name) as known:
        problems = history.feed(known, place)
        found = retention.choose(place, known, arguments.keep or 0, since)
    going = [run for run in found if not run.why]
    if not arguments.dry_run:
        retention.sweep(place)
    for run in going:
        if not arguments.dry_run:
            retention.delete(run.folder)
        print(f"{'would be deleted' if arguments.dry_run else 'deleted'}: {run.folder.name}")
    for run in found:
        if run.why not in ("", retention.NEWEST):
            print(f"stays: {run.folder.name}: {run.why}")
    for problem in problems:
        print(f"reports: {problem}", file=sys.stderr)
    freed = sum(run.size for run in going) / 1e6
    would = "would go, and free" if arguments.dry_run else "deleted, which freed"
    print(f"{len(going)} of {len(found)} runs {would} {freed:.1f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
