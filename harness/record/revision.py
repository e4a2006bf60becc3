"""The version of this project, for the record."""

from __future__ import annotations

import argparse
import subprocess
import tomllib
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]

CHANGED = "+changes"  # suffix where the files differ from the commit
OWN = ("?? profiles/", '?? "profiles/')  # how git lists profiles that nobody has committed


def commit(folder: Path = ROOT) -> str | None:
    """The git commit of a folder, with CHANGED where files differ from it; None without git.

    Profiles of one's own are no change: what they say is in the record.
    """
    try:
        head = _git(folder, "rev-parse", "HEAD").strip()
        status = _git(folder, "status", "--porcelain", "--untracked-files=all").splitlines()
        return head + (CHANGED if any(not line.startswith(OWN) for line in status) else "")
    except (OSError, subprocess.SubprocessError):
        return None


class Version(argparse.Action):
    """An option that says the project's version and commit, and ends."""

    def __init__(self, **words: Any) -> None:
        super().__init__(**{"help": "say version and commit, and end", **words, "nargs": 0})

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
        print(f"{project['name']} {project['version']}, commit {commit() or 'not known'}")
        parser.exit()


def _git(folder: Path, *words: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(folder), *words], capture_output=True, text=True, check=True, timeout=30
    )
    return done.stdout
