"""Pin an asset lock: digests and sizes of what it names, as they come, for what has none yet.

Trust on first use: nobody vouches for what comes then but its source. From there on a file that is
another is refused.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pydantic

from harness.errors import BadUsage
from harness.profile.errors import explain
from harness.profile.source import Source, lock_entries, lock_problems
from harness.profile.text import parse
from harness.run.assets import digest, progress_printer, take
from harness.run.carried import AssetFile, stow

COMPARE = "nobody has vouched for it: compare it with what its maker publishes"
UNKNOWN = "0" * 64


def pin(lock: Path, folder: Path, say: Callable[[str], None]) -> dict[str, AssetFile]:
    """All assets of a lock, by key. What had no digest is in the folder then, and has one there.

    Raises BadUsage for a file that is no such lock, before anything is asked for; and AssetError.
    """
    import tomlkit

    text, files = _read(lock)
    document: Any = tomlkit.parse(text)
    folder.mkdir(parents=True, exist_ok=True)
    for key, file in files.items():
        if file.sha256 == UNKNOWN or file.size is None:
            path, sha256 = _first(file, folder, say)
            known = {"sha256": sha256, "size": path.stat().st_size}
            functools.reduce(operator.getitem, key, document).update(known)
            # At once: what has come is not asked for again.
            fresh = lock.with_name(f"{lock.name}.fresh")
            fresh.write_text(tomlkit.dumps(document), encoding="utf-8")
            fresh.replace(lock)
            files[key] = file.model_copy(update=known)
            path.replace(files[key].asset().cached(folder))
            if file.sha256 == UNKNOWN:
                say(f"{'.'.join(key)}: pinned to sha256 {sha256}; {COMPARE}")
    return {".".join(key): file for key, file in files.items()}


def _first(file: AssetFile, folder: Path, say: Callable[[str], None]) -> tuple[Path, str]:
    """What a lock does not know all of, as it comes; and its digest."""
    if file.sha256 != UNKNOWN:
        return stow(file.asset(), folder, say), file.sha256
    path = folder / f"{file.asset().name}.unpinned"
    take(file.asset(), path, progress_printer(say, file.source))
    return path, digest(path)


def _read(lock: Path) -> tuple[str, dict[tuple[str, ...], AssetFile]]:
    """A lock's text, and its assets by key; one without a digest has UNKNOWN for it."""
    try:
        raw = lock.read_bytes()
    except OSError as error:
        raise BadUsage(f"Asset lock '{lock}' cannot be read: {error.strerror}.") from error
    data, problems = parse(raw)
    files: dict[tuple[str, ...], AssetFile] = {}
    if not problems:
        problems = [*lock_problems(data, lock, pinned=False)]
    for key, entry in [] if problems else lock_entries(data):
        known = {**entry, "sha256": entry.get("sha256") or UNKNOWN}
        try:
            files[key] = AssetFile.model_validate(known)
        except pydantic.ValidationError as error:
            problems += explain(error, AssetFile, Source(".".join(key)))
    if problems:
        raise BadUsage("\n".join(f"{lock}: {problem}" for problem in problems))
    return raw.decode(), files
