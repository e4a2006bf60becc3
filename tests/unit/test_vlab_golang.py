"""Programs in Go: how they are fetched and compiled, and that this is done once."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import pytest

from vlab.build import Build
from vlab.errors import VlabError
from vlab.packages import CNITOOL
from vlab.parts import cni, golang


@dataclass(frozen=True)
class Rehearsed(Build):
    """A build that writes down what it would run, in a tree that has a Go."""

    fetches: list[list[str]] = field(default_factory=list)
    compiles: list[list[str]] = field(default_factory=list)
    offline: bool = False

    @property
    def tree(self) -> Path:
        return self.work / "compiler"

    def run(self, *argv: str | Path, cwd: Path | None = None) -> str:
        if self.offline:
            raise VlabError("no network")
        self.fetches.append([str(word) for word in argv])
        return ""

    def chroot(self, tree: Path, *argv: str | Path) -> str:
        self.compiles.append([str(word) for word in argv])
        made = tree / "go/bin" / str(argv[-1]).partition("@")[0].rpartition("/")[2]
        made.parent.mkdir(parents=True, exist_ok=True)
        made.write_text(f"made of {argv[-1]}")
        made.chmod(0o755)
        return ""

    def program(self, module: str = CNITOOL) -> Path:
        return golang.program(self, self.tree, module)


@pytest.fixture
def build(tmp_path: Path) -> Rehearsed:
    build = Rehearsed(tmp_path / "work", tmp_path / "cache/log", print)
    (build.tree / golang.ROOT).mkdir(parents=True)
    return build


def test_go_fetches_by_the_machines_own_settings_and_compiles_without_them(
    build: Rehearsed,
) -> None:
    build.program()
    ([env, *fetch],) = build.fetches
    assert env == "env"
    assert not {word.partition("=")[0] for word in fetch} & {"GOPROXY", "GOSUMDB", "GOFLAGS", "-i"}
    assert f"GOMODCACHE={build.tree}/go/pkg/mod" in fetch
    at = fetch.index(f"{build.tree}/usr/lib/go/bin/go")
    ([*compile],) = build.compiles
    assert compile[:2] == ["env", "-i"]
    assert "GOPROXY=file:///go/pkg/mod/cache/download" in compile
    assert "GOMODCACHE=/go/pkg/mod" in compile
    words = compile[compile.index("/usr/lib/go/bin/go") + 1 :]
    assert words[0] == "install"
    assert fetch[at + 1 :] == ["install", "-n", *words[1:]]
    for called in (fetch, compile):
        assert "GOTOOLCHAIN=local" in called  # none is downloaded


def test_a_program_is_compiled_once(build: Rehearsed, tmp_path: Path) -> None:
    first = build.program()
    assert first.read_text() == f"made of {CNITOOL}"
    assert first.stat().st_mode & 0o111
    later = Rehearsed(tmp_path / "another", build.log, print, offline=True)
    assert later.program() == first
    assert not later.compiles


def test_another_version_is_another_program(build: Rehearsed) -> None:
    first = build.program()
    second = build.program(CNITOOL.replace("v1.3.0", "v1.3.1"))
    assert second.read_text().endswith("@v1.3.1")
    assert first.read_text().endswith("@v1.3.0")


def test_a_program_that_a_disk_has_damaged_is_compiled_again(build: Rehearsed) -> None:
    build.program().write_text("mad")
    assert build.program().read_text() == f"made of {CNITOOL}"
    assert len(build.compiles) == 2


def test_what_cannot_be_fetched_leaves_nothing(build: Rehearsed, tmp_path: Path) -> None:
    offline = Rehearsed(build.work, build.log, print, offline=True)
    with pytest.raises(VlabError, match="no network"):
        offline.program()
    assert not (offline.kept / golang.FOLDER).exists()
    assert build.program().is_file()


def test_cnitool_and_the_plugins_are_where_the_guide_puts_them(build: Rehearsed) -> None:
    with pytest.raises(VlabError, match="containernetworking-plugins is missing"):
        cni.install(build, build.tree)
    (build.root / "usr/lib/cni").mkdir(parents=True)
    (build.root / "usr/lib/cni/bridge").touch()
    cni.install(build, build.tree)
    tool = build.root / "usr/local/bin/cnitool"
    assert tool.read_text() == f"made of {CNITOOL}"
    assert tool.stat().st_mode & 0o111
    assert (build.root / "opt/cni/bin/bridge").readlink() == Path("/usr/lib/cni/bridge")
