"""The version of this project, for the record."""

from __future__ import annotations

import subprocess
from pathlib import Path

CHANGED = "+changes"  # suffix where the files differ from the commit


def commit(folder: Path = Path(__file__).parents[2]) -> str | None:
    """The git commit of a folder, with CHANGED where files differ from it; None without git."""
    try:
        head = _git(folder, "rev-parse", "HEAD").strip()
        return head + (CHANGED if _git(folder, "status", "--porcelain").strip() else "")
    except (OSError, subprocess.SubprocessError):
        return None


def _git(folder: Path, *words: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(folder), *words], capture_output=True, text=True, check=True, timeout=30
    )
    return done.stdout
