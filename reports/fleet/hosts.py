"""The hosts of a fleet, each as its record tells of it: how its run went, and on what."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from reports.history.divergence import ELSEWHERE
from reports.record import verdict
from reports.record.integrity import check, noted
from reports.record.inventory import inventory
from reports.record.measures import SETTING, conditions, host
from reports.record.reading import load
from reports.record.record import Record, RecordError
from reports.record.verdict import Reason
from reports.texts.texts import translator

PASSED, FAILED, OPEN = "passed", "failed", "open"  # kinds of hosts
# What tells one host from another, and so explains nothing; of a profile also its digest, as its
# values are compared themselves.
_KINDS = ("host", "device serial")
_NAMES = ("profile", *(f"{SETTING}{key}" for key in ("name", "secrets", "vlab.name", "waiver")))


@dataclass(frozen=True)
class Host:
    """A lab host, reduced to what a page of many needs; a record takes a hundred times the room.

    `kind`: OPEN is one of which the run says nothing, as it was not reached, or cut off.
    """

    lab: str
    host: str  # its name and id, as far as the run found them out
    run: str
    folder: Path
    started: str
    seconds: float
    kind: str
    verdict: str
    exit_status: int | None
    subject: str  # of the first failure: a stage, or a test by its id; '' where there is none
    cause: str
    reasons: tuple[Reason, ...]  # of the run as a whole, where it did not pass
    commit: str
    conditions: Mapping[str, str]  # by the names of `reports.record.measures.conditions`
    labels: Mapping[str, str]  # Chinese names of these

    def why(self, text: Callable[[str], str]) -> str:
        """Why it did not go well: what the first failure says, else the reasons of the verdict."""
        return self.cause or "; ".join(reason.sentence(text) for reason in self.reasons)

    @property
    def whole(self) -> bool:
        """Whether the record is as the run wrote it, to its end."""
        return self.verdict != verdict.VOID and self.exit_status is not None


def read(record: Record) -> Host:
    """A host of its record."""
    whole, failure = verdict.overall(record), record.first_failure
    kind = _kind(record, whole.verdict)
    why = [reason for found, reason in verdict.run_level_reasons(record) if found == whole.verdict]
    own = {item.name for item in inventory(record) if item.kind in _KINDS}
    return Host(
        lab=str(record.profile["name"]),
        host=host(record) or "",
        run=record.id,
        folder=record.folder,
        started=record.started.isoformat(),
        seconds=record.seconds,
        kind=kind,
        verdict=whole.verdict,
        exit_status=record.exit_status,
        subject=failure.subject if failure else "",
        cause=failure.cause[0] if failure else "",
        reasons=() if kind == PASSED else tuple(why),
        commit=str(record.start.get("commit") or ""),
        conditions={
            name: value
            for name, value in conditions(record).items()
            if not (name in own or name in _NAMES or name.startswith(f"{SETTING}target."))
        },
        labels={item.name: item.label["zh"] for item in inventory(record)},
    )


def _kind(record: Record, found: str) -> str:
    status = record.exit_status
    if found == verdict.VOID or status is None or status in ELSEWHERE:
        return OPEN
    return PASSED if status == 0 and found != verdict.FAILED else FAILED


def read_all(folders: Iterable[Path]) -> list[Host]:
    """The hosts of runs, one record at a time, each held against its digests. Raises RecordError.

    Of several runs of one lab on one host the newest counts.
    """
    found: dict[tuple[str, str], Host] = {}
    for folder in folders:
        record = load(folder)
        one = read(check(record, noted(record.id, record.folder)).of(record))
        before = found.get((one.lab, one.host))
        if before is None or before.started <= one.started:
            found[one.lab, one.host] = one
    return list(found.values())


def runs(place: Path) -> list[Path]:
    """The folders of runs: a run's own, or all that lie in a folder. RecordError if there is none.

    A link is none, as `last` leads to a run that is there.
    """
    if (place / "record.jsonl").is_file() or not place.is_dir():
        return [place]
    found = [path.parent for path in sorted(place.glob("*/record.jsonl"))]
    if not (found := [path for path in found if not path.is_symlink()]):
        raise RecordError(f"'{place}' is no run's folder, and none lies in it.")
    return found


def notes(hosts: Sequence[Host]) -> Iterator[tuple[str, dict[str, object]]]:
    """What is odd about the records as a whole: a text's key, and its values."""
    commits = sorted({one.commit for one in hosts})
    if len(commits) > 1:
        yield "fleet_versions", {"commits": ", ".join(commit[:12] or "?" for commit in commits)}
    by_host: dict[str, list[str]] = {}
    for one in hosts:
        if one.host not in ("", "vlab"):  # every virtual lab is called so
            by_host.setdefault(one.host, []).append(one.lab)
    for name, labs in by_host.items():
        if len(labs) > 1:
            yield "fleet_one_host", {"labs": ", ".join(labs), "host": name}


def by_failure(hosts: Iterable[Host]) -> dict[str, list[Host]]:
    """The hosts that failed by what failed first, the most frequent first."""
    found: dict[str, list[Host]] = {}
    for one in hosts:
        if one.kind == FAILED:
            found.setdefault(one.subject or one.why(translator("en")), []).append(one)
    return dict(sorted(found.items(), key=lambda item: -len(item[1])))


def ordered(hosts: Iterable[Host]) -> list[Host]:
    """What is looked at first: those that failed, then those of which nothing is known."""
    kinds = (FAILED, OPEN, PASSED)
    return sorted(hosts, key=lambda one: (kinds.index(one.kind), one.subject, one.lab, one.run))
