"""Evidence: files that explain a failure, collected from the host while they are there."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from pathlib import Path

from harness.record.trace import Trace, at_stage
from harness.text import whole
from harness.wait import within

DEADLINE = 60.0  # seconds that one collector may take
HUNG = 2  # collectors without an answer, after which the others are not asked: the host hangs
STAGE = "evidence"  # that of the commands which collectors run, in the record
LIMIT = 2 << 20  # bytes of a file; of more, the end is kept

Collector = Callable[[], str | bytes]


class Evidence:
    """Collectors that stages register; a failed test runs them all into a folder of its own.

    `directory` lies in the run's folder; each file is masked and becomes an event of the record.
    """

    def __init__(
        self,
        directory: Path,
        trace: Trace | None = None,
        *,
        deadline: float = DEADLINE,
        limit: int = LIMIT,
    ) -> None:
        self.directory = directory
        self._trace = trace or Trace(None)
        self._deadline = deadline
        self._limit = limit
        self._collectors: dict[str, Collector] = {}

    def register(self, name: str, collect: Collector) -> None:
        """`name` becomes a file's name; the last one registered under a name holds."""
        self._collectors[name] = collect

    def folder(self, nodeid: str) -> Path:
        """The folder of a test id: `a/test_b.py::C::d[e]` is `a/test_b.py/C/d[e]`."""
        path, *names = self._trace.mask(nodeid).split("::")
        parts = [*path.split("/"), *names]
        safe = [re.sub(r"[^\w.\[\]=,+@-]", "_", part)[:120] for part in parts]
        return self.directory.joinpath(*(part for part in safe if part.strip(".")))

    def collect(self, nodeid: str, extra: dict[str, str] | None = None) -> Path | None:
        """Run every collector; the file of one that fails has its error instead.

        `extra` are texts to store as well (the failure itself). None when there is nothing at all.
        """
        if not self._collectors and not extra:
            return None
        folder = self.folder(nodeid)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for name, text in (extra or {}).items():
                self._store(nodeid, folder, name, text)
            hung = 0
            for name, collect in list(self._collectors.items()):
                data = self._gathered(collect) if hung < HUNG else None
                hung += data is None
                none = f"could not be collected: no answer within {self._deadline:g} s\n"
                self._store(nodeid, folder, name, none if data is None else data)
        except OSError as error:  # a full disk: the run goes on, and says so at its end
            self._trace.keep(f"The evidence in '{folder}' is not whole: {error}")
        return folder

    def _gathered(self, collect: Collector) -> str | bytes | None:
        """What a collector has; its error, which never hides the failure; None: no answer."""

        def work() -> str | bytes:
            try:
                with at_stage(STAGE):  # no test rests on what is asked now
                    return collect()
            except BaseException as error:
                return f"could not be collected: {type(error).__name__}: {error}\n"

        try:
            return within(self._deadline, work)
        except TimeoutError:
            return None

    def _store(self, nodeid: str, folder: Path, name: str, data: str | bytes) -> None:
        """Write a file under a name that is still free: a test can fail in more than one phase."""
        raw = data if isinstance(data, bytes) else data.encode("utf-8", "surrogateescape")
        raw = _end(self._trace.masker.data(raw), self._limit)
        path = wanted = folder / _file_name(self._trace.mask(name))
        number = 1
        while path.exists():
            number += 1
            path = wanted.with_stem(f"{wanted.stem}-{number}")
        path.write_bytes(raw)
        _listed(self._trace, nodeid, path.relative_to(self.directory.parent), raw)


def list_rest(run_dir: Path, trace: Trace) -> None:
    """Record an event for each evidence file that has none yet, such as a lab's console.

    It is called at the end of a run, when these files are complete and masked.
    """
    lines = (run_dir / "record.jsonl").read_bytes().splitlines()
    events = [json.loads(line) for line in lines if b'"evidence"' in line]
    known = {event["file"] for event in events if event["kind"] == "evidence"}
    for path in sorted((run_dir / "evidence").rglob("*")):
        name = path.relative_to(run_dir)
        if path.is_file() and name.as_posix() not in known:
            _listed(trace, None, name, path.read_bytes())


def _listed(trace: Trace, nodeid: str | None, name: Path, raw: bytes) -> None:
    trace.event(
        "evidence",
        nodeid=nodeid,
        file=name.as_posix(),
        bytes=len(raw),
        sha256=hashlib.sha256(raw).hexdigest(),
    )


def _end(raw: bytes, limit: int) -> bytes:
    if len(raw) <= limit:
        return raw
    return b"[the last %d of %d bytes]\n" % (limit, len(raw)) + whole(raw[-limit:])


def _file_name(name: str) -> str:
    safe = re.sub(r"[^\w.+@-]", "_", name).lstrip(".")[:120] or "unnamed"
    return safe if "." in safe else f"{safe}.txt"
