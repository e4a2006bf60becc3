"""`python -m harness collect`: a run as one masked archive, for a colleague.

The same run gives the same bytes wherever it is collected: members are sorted, and have the time
at which the run began, nobody's name, and no path of this machine.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import io
import json
import os
import re
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import tomlkit

from harness import exits
from harness.errors import BadUsage
from harness.record.files import replace
from harness.record.masking import MASK, Masker
from harness.text import readable
from reports.documents import NAMES
from reports.record import verdict
from reports.record.integrity import check
from reports.record.measures import conditions, host
from reports.record.reading import RUNS, folder, load
from reports.record.record import Record, RecordError

HELP = "put a run into one masked archive for a colleague: record, evidence, documents, profile"


def declare(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments, and its work."""
    parser.add_argument("run", nargs="?", default="last", help="id or folder (default: last)")
    parser.add_argument(
        "-o", "--out", type=Path, metavar="FILE", help="the archive (default: the run's id.tar.gz)"
    )
    parser.set_defaults(work=_collect)


def _collect(arguments: argparse.Namespace) -> int:
    """Write the archive, and say what is in it; BadUsage where there is no run, or no place."""
    try:
        record = load(folder(arguments.run))
    except RecordError as error:
        hint = f"RUN is an id or a folder; runs are in '{RUNS}'"
        raise BadUsage(f"There is nothing to collect: {error}", hint=hint) from None
    members, masked, left_out = gathered(record)
    name = re.sub(r"[^\w.+-]", "_", record.id).lstrip(".") or "run"
    data = archive(name, members, int(record.started.timestamp()))
    out = arguments.out or Path(f"{name}.tar.gz")
    before = os.umask(0o077)  # as the run's folder has it: this shows what root sees on the host
    try:
        replace(out, data)
    except OSError as error:
        hint = "name another place with -o FILE"
        raise BadUsage(f"'{out}' cannot be written: {error.strerror}.", hint=hint) from error
    finally:
        os.umask(before)
    print(readable("\n".join(_said(record, members, masked, left_out))))
    print(f"{out}: {len(data)} bytes, sha256 {hashlib.sha256(data).hexdigest()}")
    return exits.PASSED


def gathered(record: Record) -> tuple[dict[str, bytes], list[str], list[str]]:
    """What goes into the archive, by name; the names of what was masked anew; what is left out.

    All of it was masked when it was written, by the secrets that the run knew. It is masked once
    more, by what looks like a credential and by the secrets that the environment has now: what a
    document of an older harness may show goes to nobody.
    """
    names = [str(name) for name in record.profile.get("secrets", ())]
    masker = Masker(value for name in names if (value := os.environ.get(name)) and name != MASK)
    members, left_out = dict[str, bytes](), []
    for path in sorted(record.folder.rglob("*")):
        name = path.relative_to(record.folder).as_posix()
        ours = name in ("record.jsonl", *NAMES) or name.startswith("evidence/")
        if path.is_symlink() or (not path.is_dir() and not (ours and path.is_file())):
            left_out.append(name)  # a link may lead anywhere
        elif path.is_file():
            members[name] = path.read_bytes()
    members["profile.toml"] = tomlkit.dumps(_without_none(record.profile)).encode()
    members["versions.json"] = (json.dumps(_versions(record), indent=2) + "\n").encode()
    found = {name: masker.data(data) for name, data in members.items()}
    return found, [name for name, data in members.items() if found[name] != data], left_out


def archive(name: str, members: Mapping[str, bytes], time: int) -> bytes:
    """A tar.gz of files in a folder, the same for the same members."""
    packed = io.BytesIO()
    with (
        gzip.GzipFile(filename="", fileobj=packed, mode="wb", mtime=time) as zipped,
        tarfile.open(fileobj=zipped, mode="w", format=tarfile.PAX_FORMAT) as tar,
    ):
        for member, data in sorted(members.items()):
            info = tarfile.TarInfo(f"{name}/{member}")
            info.size, info.mtime, info.mode = len(data), time, 0o644
            tar.addfile(info, io.BytesIO(data))
    return packed.getvalue()


def _said(
    record: Record, members: Mapping[str, bytes], masked: list[str], left_out: list[str]
) -> Iterator[str]:
    integrity = check(record)
    whole = verdict.overall(integrity.of(record)).verdict
    yield f"run {record.id} of lab {record.profile['name']}: {whole}"
    for name, data in sorted(members.items()):
        yield f"{len(data):>10}  {name}"
    yield from (f"ALTERED: {problem}" for problem in integrity.problems)
    if integrity.incomplete:
        yield "INCOMPLETE: the record has no end: the run was cut off"
    yield from (f"left out, being no file of a run's: {name}" for name in left_out)
    yield from (f"masked anew, so that its digest is another: {name}" for name in masked)
    if not masked:
        yield "nothing in it looks like a credential; addresses and names of the lab are in it"


def _versions(record: Record) -> dict[str, Any]:
    """Under what the run took place, without the values of the profile."""
    start = {key: record.start.get(key) for key in ("commit", "python", "pytest")}
    known = conditions(record).items()
    seen = {name: value for name, value in known if not name.startswith("profile")}
    return {"run": record.id, "lab_host": host(record), **start, "seen": seen}


def _without_none(value: Any) -> Any:
    """A profile as TOML can hold it, which has no null: a key without a value is left out."""
    if isinstance(value, Mapping):
        return {k: _without_none(v) for k, v in value.items() if v is not None}
    return [_without_none(v) for v in value] if isinstance(value, list) else value
