"""The version of this project, for the record."""

from __future__ import annotations

import subprocess
from pathlib import Path

CHANGED = "+changes"  # suffix where the files differ from the commit
OWN = ("?? profiles/", '?? "profiles/')  # how git lists profiles that nobody has committed


def commit(folder: Path = Path(__file__).parents[2]) -> str | None:
    """The git commit of a folder, with CHANGED where files differ from it; None without git.

    Profiles of one's own are no change: what they say is in the record.
    """
    try:
        head = _git(folder, "rev-parse", "HEAD").strip()
        status = _git(folder, "status", "--porcelain", "--untracked-files=all").splitlines()
        return head + (CHANGED if any(not line.startswith(OWN) for line in status) else "")
    except (OSError, subprocess.SubprocessError):
        return None


def _git(folder: Path, *words: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(folder), *words], capture_output=True, text=True, check=True, timeout=30
    )
    return done.stdout
