"""How a build runs its commands, and what it makes of their failures."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.patience import PATIENCE
from vlab import image
from vlab.build import Build
from vlab.errors import VlabError
from vlab.process import Process


def test_a_file_system_that_fills_up_is_named(tmp_path: Path) -> None:
    build = Build(tmp_path, tmp_path / "log", print)
    with pytest.raises(VlabError, match=f"^the file system of {tmp_path} is full"):
        build.run("dd", "if=/dev/zero", "of=/dev/full", "count=1")


def test_a_wheel_that_cannot_be_fetched_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (
        ("CONFIG_FILE", "/dev/null"),
        ("INDEX_URL", "http://127.0.0.1:9/simple"),
        ("RETRIES", "0"),
    ):
        monkeypatch.setenv(f"PIP_{name}", value)
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    monkeypatch.delenv("PIP_EXTRA_INDEX_URL", raising=False)
    build = Build(tmp_path, tmp_path / "log", print)
    with pytest.raises(VlabError) as caught:
        build.run(sys.executable, "-m", "pip", "download", "--no-deps", "-d", tmp_path, "no==1")
    text = str(caught.value)
    assert "'no==1' could not be fetched from http://127.0.0.1:9/simple" in text
    assert str(tmp_path / "log") in text
    assert "\n" not in text


def test_a_tool_that_is_missing_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(VlabError, match=r"^'no-such-tool' is not installed: "):
        Build(tmp_path, tmp_path / "log", print).run("no-such-tool")


def test_a_command_that_fails_is_shown_with_its_last_words(tmp_path: Path) -> None:
    with pytest.raises(VlabError, match=r"exited 3 .*\nlast words$") as caught:
        Build(tmp_path, tmp_path / "log", print).run("sh", "-c", "echo last words; exit 3")
    assert str(tmp_path / "log") in str(caught.value)


def test_a_command_of_a_build_dies_with_the_build(tmp_path: Path) -> None:
    build = "from pathlib import Path; from vlab.build import Build; here = Path('.');"
    build += "Build(here, here / 'log', print).run('sh', '-c', 'echo $$ > pid; sleep 600')"
    os.mkfifo(tmp_path / "pid")
    root = Path(image.__file__).parents[1]
    with subprocess.Popen(
        [sys.executable, "-c", build], cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(root)}
    ) as process:
        command = Process.of(int((tmp_path / "pid").read_text()))
        process.kill()
        assert command.wait(PATIENCE)


# Leaves in a tree what the real one does.
MMDEBSTRAP = """#!/bin/sh
for target; do case $target in */tree) break ;; esac; done
mkdir -p "$target/etc/apt/apt.conf.d"
cd "$target/etc" && touch hostname resolv.conf passwd
echo 'Acquire::http::Proxy "http://user:password@proxy";' > apt/apt.conf.d/99mmdebstrap
"""


def test_a_tree_has_nothing_of_the_machine_that_made_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, script in (("mmdebstrap", MMDEBSTRAP), ("apt-get", ""), ("apt-config", "")):
        (tmp_path / name).write_text(script or "#!/bin/sh\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    tree = tmp_path / "tree"
    Build(tmp_path, tmp_path / "log", print).mmdebstrap(tree, variant="extract", include=())
    assert {path.name for path in tree.rglob("*") if path.is_file()} == {"passwd"}
