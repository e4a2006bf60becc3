"""The stage that CONTRIBUTING.md adds: its four places are enough, and it works."""

from __future__ import annotations

import filecmp
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.unit.mini import ROOT, pytest_in, sample

STAGE, SUITE = "fixtures/hugepages/stage.py", "suites/test_hugepages.py"
CLAUSES, PROFILE = "docs/clauses.toml", "fixtures/profile.py"
NEXT = f"# {'-' * 64} guest image"  # in the clauses: what comes after the platform's
PROFILE_CLASS = "class Profile(BaseProfile):\n"
TREE = ["conftest.py", "pytest.ini", "pyproject.toml"]
TREE += ["docs", "fixtures", "harness", "profiles", "reports", "suites", "vlab"]
LEFT_OUT = shutil.ignore_patterns("__pycache__", "runs", "local")

LOCAL_PROFILE = f"""extends = "vlab.toml"
[target]
kind = "local"
[image]
commit = "{"0" * 40}"
"""

# It changes nothing of this machine.
SYSCTL = """#!/bin/sh
echo "$*" >>"$0.calls"
case "$1 $2" in
    "-n vm.nr_hugepages") cat "$0.value" ;;
    "-qw vm.nr_hugepages="*) echo "${2#*=}" >"$0.value" ;;
    *) exit 9 ;;
esac
"""


def documented() -> dict[str, str]:
    """The example: each place with what is to stand there."""
    whole = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
    text = whole.partition("\n## A stage and its suite\n")[2].partition("\n### ")[0]
    found = re.findall(r"^`([\w./]+)`(?:[^\n]+\n)+\n```\w+\n(.*?)^```$", text, re.M | re.S)
    assert text.count("```") == 2 * len(found), "each block has its file before it"
    return dict(found)


class Project:
    """A copy of the project, with the example in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        for name in TREE:
            source, target = ROOT / name, folder / name
            if source.is_dir():
                shutil.copytree(source, target, ignore=LEFT_OUT)
            else:
                shutil.copy(source, target)
        for place, text in documented().items():
            path = folder / place
            path.parent.mkdir(exist_ok=True)
            path.write_text(self._with(path, text), "utf-8")

    def _with(self, path: Path, text: str) -> str:
        """A new file is the text; in one that is there it has its place."""
        if not path.exists():
            return text
        there = path.read_text("utf-8")
        if path == self.folder / CLAUSES:
            before, mark, after = there.partition(NEXT)
            return f"{before}{text}\n{mark}{after}"
        before, mark, after = there.partition(PROFILE_CLASS)
        docstring, _, fields = after.partition("\n\n")
        section, line = text.split(f"{PROFILE_CLASS}    ...\n")
        return f"{before}{section}{mark}{docstring}\n\n{line}{fields}"

    def pytest(self, *args: str, status: int = 0, **environ: str) -> str:
        """What pytest prints there; `harness` alone is not the copy."""
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("ACCEPT_", "PYTEST_"))}
        ended, said = pytest_in(self.folder, *args, environ=clean | environ)
        assert ended == status, said
        return said


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """The project with one more stage."""
    return Project(tmp_path / "project")


def test_four_places_are_touched(project: Project) -> None:
    paths = [path.relative_to(project.folder) for path in project.folder.rglob("*")]
    files = [path for path in paths if (project.folder / path).is_file()]
    ours, _, new = filecmp.cmpfiles(project.folder, ROOT, map(str, files), shallow=False)
    touched = {*map(str, files)} - {*ours}
    assert touched == {STAGE, SUITE, CLAUSES, PROFILE}
    assert {*new} == {STAGE, SUITE}


def test_it_is_in_the_projects_style(project: Project) -> None:
    for words in (["check"], ["format", "--check", "--diff"]):
        ruff = [sys.executable, "-m", "ruff", *words, "--no-cache", STAGE, SUITE, PROFILE]
        done = subprocess.run(ruff, cwd=project.folder, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


def test_pytest_knows_the_stage_its_marks_its_order_and_its_budget(project: Project) -> None:
    tests = re.findall(r"^suites/test_(\w+)\.py::", project.pytest("--collect-only", "-q"), re.M)
    suites = ["platform", "hugepages", "rootfs", "kata", "image", "gpu", "network"]
    assert [*dict.fromkeys(tests)] == [*suites, "container", "guest", "model"]
    plan = project.pytest("--plan", "-m", "acceptance and hugepages")
    assert "1 tests, 2 stages." in plan
    assert "1. platform (changes nothing)\n2. hugepages (undone at the end)\n" in plan
    assert "   - Reserve huge pages for the guest.\n" in plan
    assert "@pytest.mark.hugepages: Huge pages for the guest.\n" in project.pytest("--markers")
    assert f"\nhugepages [session scope] -- {STAGE}" in project.pytest("--fixtures")
    shown = tomllib.loads(project.pytest("--show-profile"))
    assert (shown["hugepages"], shown["budget"]["hugepages"]) == ({"count": 512}, 60)


@pytest.mark.parametrize(
    ("name", "lacks"), [("hugpages", "stage"), ("answer", "clause in docs/clauses.toml")]
)
def test_a_suite_of_another_name_is_told(project: Project, name: str, lacks: str) -> None:
    (project.folder / SUITE).rename(project.folder / "suites" / f"test_{name}.py")
    said = project.pytest("--collect-only", "-q", status=pytest.ExitCode.USAGE_ERROR)
    assert f"and '{name}' has no {lacks}; there are: platform, hugepages, rootfs" in said


def test_it_runs_and_is_undone(project: Project) -> None:
    (project.folder / "conftest.py").write_text(sample("contributed"))
    (project.folder / "profiles" / "here.toml").write_text(LOCAL_PROFILE)
    sysctl = project.folder / "bin" / "sysctl"
    sysctl.parent.mkdir()
    sysctl.write_text(SYSCTL)
    sysctl.chmod(0o755)
    sysctl.with_suffix(".value").write_text("7\n")
    out = project.pytest(
        *("-m", "acceptance and hugepages", "--profile", "here", "--allow-local"),
        PATH=f"{sysctl.parent}:{os.environ['PATH']}",
        MINI_STATE=str(project.folder / "state"),
    )
    assert "[hugepages] ok (provisioned)" in out
    assert "1 passed" in out
    calls = sysctl.with_suffix(".calls").read_text().splitlines()
    written = [call for call in calls if call.startswith("-qw")]
    assert written == ["-qw vm.nr_hugepages=512", "-qw vm.nr_hugepages=7"]
