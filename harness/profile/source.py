"""Reading a profile's files and environment into one tree that knows where each value came from."""

from __future__ import annotations

import json
import os.path
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.profile.text import parse

PREFIX = "ACCEPT_"
MAX_BYTES = 1 << 20
LOCK = 1  # the format of asset locks
_KINDS = {
    "str": "string",
    "int": "integer",
    "float": "float",
    "bool": "boolean",
    "dict": "table",
    "list": "array",
    "datetime": "date",
    "date": "date",
    "time": "time",
}

Key = tuple[str, ...]


@dataclass
class Source:
    """The merged tree, and the file or variable that each key was last set by."""

    file: str
    tree: dict[str, Any] = field(default_factory=dict)
    origin: dict[Key, str] = field(default_factory=dict)
    raw: dict[Key, str] = field(default_factory=dict)  # texts of environment variables
    problems: list[str] = field(default_factory=list)

    def merge(self, data: Mapping[str, Any], origin: str, at: Key = ()) -> None:
        """Lay `data` over the tree; tables are merged, all else is replaced."""
        for key, value in data.items():
            here = (*at, key)
            self.origin[here] = origin
            if isinstance(value, dict):
                if not isinstance(self._get(here), dict):
                    self._set(here, {})
                self.merge(value, origin, here)
            else:
                self._set(here, value)

    def _get(self, key: Key) -> Any:
        node: Any = self.tree
        for part in key:
            if not isinstance(node, dict):
                return None
            node = node.get(part)
        return node

    def _set(self, key: Key, value: Any) -> None:
        node = self.tree
        for part in key[:-1]:
            if not isinstance(node.get(part), dict):
                node[part] = {}
            node = node[part]
        node[key[-1]] = value

    def where(self, loc: Sequence[object]) -> str:
        """The file or variable that the value at `loc`, or else what holds it, came from."""
        key = tuple(str(part) for part in loc)
        while key:
            if key in self.origin:
                return self.origin[key]
            key = key[:-1]
        return self.file

    def take_as_text(self, locs: Sequence[Sequence[object]]) -> bool:
        """Use the plain text of the variables that set these keys; False where none did."""
        taken = False
        for loc in locs:
            key = tuple(str(part) for part in loc)
            if key in self.raw:
                self._set(key, self.raw.pop(key))
                taken = True
        return taken

    def as_json(self) -> str:
        """The tree as JSON; dates and times as their ISO texts."""
        return json.dumps(self.tree, default=lambda value: value.isoformat())


def path_of(name_or_path: str, search: Path) -> Path:
    """The file of a profile that is given by its name, or by its path."""
    named = _is_name(name_or_path)
    return search / f"{name_or_path}.toml" if named else Path(os.path.expanduser(name_or_path))


def _is_name(text: str) -> bool:
    return "/" not in text and not text.endswith(".toml")


def read(name_or_path: str, environ: Mapping[str, str], search: Path) -> Source:
    """Read a profile with all that it extends, and the environment's ACCEPT_* variables."""
    is_name = _is_name(name_or_path)
    path = path_of(name_or_path, search)
    source = Source(str(path))
    try:
        there = path.exists()
    except (OSError, ValueError):
        there = False
    if not is_name and not there and search / path.name in search.glob("*.toml"):
        source.problems.append(
            f"{shown(str(path))}: expected a file, found nothing; "
            f"did you mean --profile {path.stem}?"
        )
        return source
    if is_name and not there:
        names = sorted(p.stem for p in search.glob("*.toml")) if search.is_dir() else []
        known = ", ".join(names) or "none"
        source.problems.append(
            f"{path}: profile '{shown(name_or_path)}': expected a file, found nothing;"
            f" profiles here: {known}"
        )
        return source
    _read_file(source, path, ())
    if not source.problems:
        _read_environ(source, environ)
    return source


def toml_kind(value: object) -> str:
    """TOML's own word for the type of a value."""
    return _KINDS.get(type(value).__name__, "value")


def shown(text: str) -> str:
    """One line, and printable, whatever the text holds."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def _read_file(source: Source, path: Path, chain: tuple[Path, ...]) -> None:
    """Merge `path`, what it extends first."""
    data, problems = _parse(path)
    if data is None:
        by = f"{chain[-1]}: extends: " if chain else ""
        source.problems += [shown(f"{by}{path}: {problem}") for problem in problems]
        return
    parent = data.pop("extends", None)
    real = path.resolve()
    if parent is not None:
        if not isinstance(parent, str) or not parent:
            found = toml_kind(parent) if parent else "nothing"
            source.problems.append(f"{path}: extends: expected the name of a file, found {found}")
            return
        if real in chain:
            ring = " -> ".join(p.name for p in (*chain, real))
            source.problems.append(f"{path}: extends: expected no cycle, found {ring}")
            return
        _read_file(source, path.parent / parent, (*chain, real))
    target = data.get("target")
    if isinstance(target, dict) and "kind" in target:
        source.tree.pop("target", None)  # an address is of its kind: it is not inherited
    lock = data.pop("assets", None)
    source.merge(data, str(path))
    if lock is not None:
        _read_lock(source, path, lock)


def _read_lock(source: Source, path: Path, lock: object) -> None:
    """Merge the asset lock that the file `path` names: tables of assets, at their keys, alone."""
    if not isinstance(lock, str) or not lock:
        found = toml_kind(lock) if lock else "nothing"
        source.problems.append(f"{path}: assets: expected the name of an asset lock, found {found}")
        return
    lock_path = path.parent / lock
    data, problems = _parse(lock_path)
    if data is not None:
        problems = [*lock_problems(data, lock_path)]
    if not problems:
        source.merge(data or {}, str(lock_path))
    source.problems += [shown(f"{lock_path}: {problem}") for problem in problems]


def lock_problems(data: dict[str, Any], path: Path, *, pinned: bool = True) -> Iterator[str]:
    """What is wrong with an asset lock's values; its format is taken out of them.

    `pinned`: each asset has to have its digest.
    """
    if (found := data.pop("lock", None)) != LOCK:
        yield (
            f"lock: expected lock = {LOCK}, the format of asset locks that this version reads, "
            f"found {'nothing' if found is None else found}"
        )
        return
    for key, entry in lock_entries(data):
        name = ".".join(key)
        if not isinstance(entry, dict):
            yield (
                f"{name}: expected assets alone, each a table with source and sha256, found "
                f"{toml_kind(entry)}"
            )
        elif pinned and not entry.get("sha256"):
            yield (
                f"{name}.sha256: expected the digest of {entry['source']}, found nothing: "
                f"'python -m harness prefetch FOLDER --pin {path}' fetches it and writes it down"
            )


def lock_entries(data: Mapping[str, Any], at: Key = ()) -> Iterator[tuple[Key, Any]]:
    """Each asset of a lock, by its key; and what is none."""
    for key, value in data.items():
        if isinstance(value, dict) and not isinstance(value.get("source"), str):
            yield from lock_entries(value, (*at, key))
        else:
            yield (*at, key), value


def _parse(path: Path) -> tuple[dict[str, Any] | None, list[str]]:
    """The file's values; or None, and what is wrong with it."""
    try:
        if found := _no_file(path):
            return None, [f"expected a TOML file, found {found}"]
        raw = path.read_bytes()[: MAX_BYTES + 1]
    except OSError as error:
        return None, [f"expected a readable TOML file, found: {error.strerror}"]
    except ValueError as error:  # a path beyond bounds
        return None, [f"expected the path of a TOML file, found: {error}"]
    if len(raw) > MAX_BYTES:
        return None, [f"expected at most {MAX_BYTES} bytes, found more"]
    data, problems = parse(raw)
    return (None, problems) if problems else (data, [])


def _no_file(path: Path) -> str:
    """A word for the thing at a path that is not a file; empty for a file."""
    if path.is_dir():
        return "a directory"
    if not path.exists():
        return "nothing"
    return "" if path.is_file() else "something that is no file"


def _read_environ(source: Source, environ: Mapping[str, str]) -> None:
    for name in sorted(environ):
        if not name.startswith(PREFIX):
            continue
        key = tuple(part.lower() for part in name[len(PREFIX) :].split("__"))
        if not all(key):
            source.problems.append(
                f"{shown(name)}: expected {PREFIX}SECTION__KEY, found an empty part in its name"
            )
            continue
        text = environ[name]
        if key == ("profile",):
            source.problems.append(
                f"{name}: expected the value of a key of the profile, as in "
                f"{PREFIX}NETWORK__SUBNET; which profile it is says --profile"
            )
            continue
        try:
            text.encode("utf-8")
            name.encode("utf-8")
        except UnicodeEncodeError:
            source.problems.append(f"{shown(name)}: expected UTF-8, found other bytes")
            continue
        source.merge(_nested(key, _value(text)), name)
        source.raw[key] = text


def _nested(key: Key, value: Any) -> dict[str, Any]:
    for part in reversed(key):
        value = {part: value}
    assert isinstance(value, dict)
    return value


def _value(text: str) -> Any:
    """A TOML value where the text is one, else the text."""
    try:
        data = tomllib.loads(f"v = {text}")
    except (ValueError, RecursionError):
        return text
    value = data.get("v")
    return text if len(data) != 1 or isinstance(value, dict) else value
