"""A build context that is another user's: git says what it is, and runs nothing as root."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from fixtures.image import build_context
from harness.errors import LabError
from harness.host.host import Host

NOBODY = 65534
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="gives files to another user")


def git(folder: Path, *words: str) -> None:
    env = {"PATH": os.environ["PATH"], "HOME": str(folder)}
    who = ("-c", "user.name=a", "-c", "user.email=a@b", "-c", "safe.directory=*")
    subprocess.run(["git", *who, "-C", str(folder), *words], check=True, env=env)


@pytest.fixture
def clone() -> Iterator[Path]:
    """A clone with a commit and a changed file, where anybody gets to."""
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        Path(name).chmod(0o755)
        yield cloned(Path(name) / "clone")


def cloned(folder: Path) -> Path:
    (folder / "part").mkdir(parents=True)
    git(folder, "init", "-q")
    (folder / "part" / "file").write_text("a")
    (folder / ".gitattributes").write_text("* filter=theirs\n")
    git(folder, "add", ".")
    git(folder, "commit", "-q", "-m", "first")
    (folder / "part" / "file").write_text("b")
    return folder


def trap(clone: Path) -> Path:
    """Programs in the clone's configuration; whoever runs one is in the file that is returned."""
    ran = clone / "ran"
    program = clone / "program"
    program.write_text(f'#!/bin/sh\nid -u >>"{ran}"\ncat\n')
    program.chmod(0o755)
    git(clone, "config", "core.fsmonitor", str(program))
    git(clone, "config", "filter.theirs.clean", str(program))
    return ran


def give(folder: Path) -> None:
    for path in (folder, *folder.rglob("*")):
        os.chown(path, NOBODY, NOBODY, follow_symlinks=False)


@needs_root
@pytest.mark.finding("F10", "programs in the configuration of a clone run as root")
def test_a_clone_of_anothers_is_looked_at_as_its_owner(local: Host, clone: Path) -> None:
    ran = trap(clone)
    give(clone)
    found = build_context.probe_context(local, str(clone), "Dockerfile", digest=False)
    assert len(found.commit) == 40
    assert "part/file" in found.changed
    assert {*ran.read_text().split()} == {str(NOBODY)}


@needs_root
@pytest.mark.finding("F10", "root's folder in a clone of another user")
@pytest.mark.parametrize("roots", ["part", "", ".git", ".git/config"])
def test_a_clone_of_two_users_is_refused(local: Host, clone: Path, roots: str) -> None:
    ran = trap(clone)
    if roots != ".git/config":
        give(clone)
        os.chown(clone / roots, 0, 0)
    else:  # all root's, but for what names the programs
        os.chown(clone / roots, NOBODY, NOBODY)
    folder = clone / "part" if roots == "part" else clone
    with pytest.raises(LabError, match=r"dubious ownership|others than root may write") as caught:
        build_context.probe_context(local, str(folder), "Dockerfile", digest=False)
    assert caught.value.clause == "image.context"
    assert not ran.exists()


def test_ones_own_clone_is_looked_at_and_not_written(local: Host, clone: Path) -> None:
    before = (clone / ".git" / "index").stat().st_mtime_ns
    os.utime(clone / ".gitattributes", (0, 0))  # git would note that in its index
    found = build_context.probe_context(local, str(clone / "part"), "Dockerfile", digest=False)
    assert (len(found.commit), found.changed) == (40, ("file",))
    assert (clone / ".git" / "index").stat().st_mtime_ns == before


@pytest.mark.parametrize("begun", [True, False])
def test_what_is_no_clone_has_no_commit(local: Host, tmp_path: Path, begun: bool) -> None:
    if begun:
        git(tmp_path, "init", "-q")
    found = build_context.probe_context(local, str(tmp_path), "Dockerfile", digest=False)
    assert (found.commit, found.changed) == ("", ())
