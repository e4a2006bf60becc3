"""What two files of the repository have to say alike."""

from __future__ import annotations

import configparser
import re
import tomllib
from importlib.metadata import packages_distributions

import pytest

from tests.unit.mini import ROOT


def test_pre_commit_runs_what_lint_and_type_run() -> None:
    tox = configparser.ConfigParser()
    tox.read(ROOT / "tox.ini")
    wanted = [
        command
        for name in ("lint", "type")
        for command in tox[f"testenv:{name}"]["commands"].strip().splitlines()
    ]
    text = (ROOT / ".pre-commit-config.yaml").read_text()
    hooks = text.split("- id: ")[1:]
    assert [re.findall("^ *entry: (.*)$", hook, re.M) for hook in hooks] == [[c] for c in wanted]
    for hook in hooks:
        assert {"language: system", "pass_filenames: false", "always_run: true"} <= {
            line.strip() for line in hook.splitlines()
        }


def test_what_the_code_imports_is_declared_and_locked() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    dev = project["optional-dependencies"]["dev"]
    declared = {_name(line) for line in [*project["dependencies"], *dev]}
    locked = {_name(line) for line in (ROOT / "requirements.lock").read_text().splitlines()}
    assert declared <= locked
    found = packages_distributions()
    for folder in ("harness", "fixtures", "suites", "reports", "vlab", "tests"):
        for path in (ROOT / folder).rglob("*.py"):
            if path.is_dir():  # of evidence, which mirrors the tests
                continue
            if "standins" in path.parts:  # they run in the lab, by what is there
                continue
            if ROOT / "suites" / "local" in path.parents:  # a lab's own
                continue
            text = path.read_text(encoding="utf-8")
            for module in re.findall(r"^\s*(?:import|from) (\w+)", text, re.M):
                names = {_name(name) for name in found.get(module, [])}
                assert not names or names & declared, f"{path} imports '{module}'"


@pytest.mark.finding("F20", "a package of another content under the version that is locked")
@pytest.mark.parametrize("name", ["requirements.lock", "bootstrap.lock"])
def test_every_package_has_its_digests(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8").replace("\\\n", " ")
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    assert len(lines) > 10
    for line in lines:
        assert re.fullmatch(r"[\w.-]+==[\w.]+ *(; [^#]*?)?( +--hash=sha256:[0-9a-f]{64})+", line), (
            line
        )


def test_bootstrap_installs_what_is_locked() -> None:
    script = (ROOT / "bootstrap").read_text(encoding="utf-8")
    [version] = re.findall(r"^TOX='(tox==.*)'$", script, re.M)
    assert f"\n{version} " in (ROOT / "bootstrap.lock").read_text(encoding="utf-8")
    assert "--require-hashes -r bootstrap.lock" in script


def _name(requirement: str) -> str:
    return re.split(r"[<>=]", requirement)[0].strip().lower().replace("_", "-")
