"""The files in examples/: by their own linters, where these are there, and by what they call.

Of a Jenkinsfile there is no linter without a Jenkins (`declarative-linter` is a command of its
server's): of that the commands alone are looked at.
"""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tests.unit.mini import ROOT

EXAMPLES = ROOT / "examples"
ALL = sorted(path.name for path in EXAMPLES.iterdir())
UNITS = [name for name in ALL if name.endswith((".service", ".timer"))]
COMMAND = re.compile(r"bin/(python -m (?:pytest|harness|reports)\b[^'\n]*)")
HERE = "/opt/passthrough-acceptance"

# The keywords of a job that are used: docs.gitlab.com, "CI/CD YAML syntax reference".
JOB = {
    *("rules", "tags", "resource_group", "timeout", "variables", "script", "after_script"),
    "artifacts",
}
ARTIFACTS = {"when", "access", "expire_in", "paths", "reports"}
TO_JSON = "import json, sys, yaml; json.dump(yaml.safe_load(sys.stdin), sys.stdout)"


def commands(name: str) -> list[list[str]]:
    """The words of each `python -m` of ours in a file."""
    text = (EXAMPLES / name).read_text("utf-8")
    return [shlex.split(line) for line in COMMAND.findall(text)]


EVERY = sorted({tuple(words) for name in ALL for words in commands(name)})


@cache
def helped(module: str, *command: str) -> str:
    """What a command says of itself."""
    asked = [sys.executable, "-m", module, *command, "--help"]
    done = subprocess.run(asked, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_example_runs_something() -> None:
    assert [name for name in ALL if not commands(name)] == ["passthrough-acceptance@.timer"]


@pytest.mark.parametrize("words", EVERY, ids=" ".join)
def test_what_it_calls_is_there_and_takes_these_options(words: tuple[str, ...]) -> None:
    program, _, module, *rest = words
    command = [word for word in rest[:1] if not word.startswith("-")]
    assert program == "python"
    text = helped(module, *command)
    options = [word.partition("=")[0] for word in rest if word.startswith("-")]
    assert options or module == "reports"
    assert not [option for option in options if not re.search(rf"{option}\b", text)]


@pytest.mark.parametrize("name", UNITS)
def test_systemd_takes_the_units(name: str, tmp_path: Path) -> None:
    if not (program := shutil.which("systemd-analyze")):
        pytest.skip("there is no systemd-analyze here")
    for unit in UNITS:  # in a place that is there, and for one lab
        text = (EXAMPLES / unit).read_text("utf-8")
        assert HERE in text or unit.endswith(".timer")
        text = text.replace(f"{HERE}/.tox/acceptance/bin/python", sys.executable)
        (tmp_path / unit.replace("@", "@mylab")).write_text(text.replace(HERE, str(tmp_path)))
    done = subprocess.run(
        [program, "verify", "--man=no", str(tmp_path / name.replace("@", "@mylab"))],
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_the_job_of_gitlab_has_keys_that_there_are() -> None:
    done = subprocess.run(
        ["/usr/bin/env", "python3", "-c", TO_JSON],
        input=(EXAMPLES / "gitlab-ci.yml").read_text("utf-8"),
        env={"PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
    )
    if "No module named 'yaml'" in done.stderr:
        pytest.skip("the system's Python reads no YAML")
    assert done.returncode == 0, done.stderr
    ((name, job),) = json.loads(done.stdout).items()
    found: dict[str, Any] = job
    assert (name, {*found}) == ("acceptance", JOB)
    assert {*found["artifacts"]} == ARTIFACTS
    lines = [*found["script"], *found["after_script"]]
    assert all(isinstance(line, str) for line in lines), "a colon in one would make it a mapping"
