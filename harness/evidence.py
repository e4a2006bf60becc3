"""What a person would go and look at after a failure, gathered while it is still there."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

Collector = Callable[[], str | bytes]


class Evidence:
    """Collectors that stages register; a failed test runs them all into a folder of its own."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._collectors: dict[str, Collector] = {}
        self.collected: list[Path] = []

    def register(self, name: str, collect: Collector) -> None:
        """`name` becomes a file's name; the last one registered under a name holds."""
        self._collectors[name] = collect

    def unregister(self, name: str) -> None:
        """Take back a collector whose object is gone."""
        self._collectors.pop(name, None)

    def folder(self, nodeid: str) -> Path:
        """The folder of a test id: `a/test_b.py::C::d[e]` is `a/test_b.py/C/d[e]`."""
        path, *names = nodeid.split("::")
        parts = [*path.split("/"), *names]
        safe = [re.sub(r"[^\w.\[\]=,+@-]", "_", part)[:120] for part in parts]
        return self.directory.joinpath(*(part for part in safe if part.strip(".")))

    def collect(self, nodeid: str, extra: dict[str, str] | None = None) -> Path | None:
        """Run every collector; what one cannot get, it says why in its file, and no more.

        `extra` are texts to store beside (the failure itself). None when there is nothing at all.
        """
        if not self._collectors and not extra:
            return None
        folder = self.folder(nodeid)
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in (extra or {}).items():
            (folder / _file_name(name)).write_bytes(text.encode("utf-8", "surrogateescape"))
        for name, collect in list(self._collectors.items()):
            try:
                data = collect()
            except Exception as error:  # never hides the failure that it was called for
                data = f"could not be collected: {type(error).__name__}: {error}\n"
            raw = data if isinstance(data, bytes) else data.encode("utf-8", "surrogateescape")
            (folder / _file_name(name)).write_bytes(raw)
        self.collected.append(folder)
        return folder


def _file_name(name: str) -> str:
    safe = re.sub(r"[^\w.+@-]", "_", name).lstrip(".")[:120] or "unnamed"
    return safe if "." in safe else f"{safe}.txt"
