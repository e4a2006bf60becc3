"""Tests get testinfra's own `host`: it means what testinfra's documentation says of it."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
import testinfra.host

from harness.errors import LabError
from harness.host.command import CAPTURE, CommandTimeout
from harness.host.host import Host
from harness.host.infra import TIMEOUT, suite_host
from harness.plugin import budget
from harness.profile.schema import BaseProfile
from tests.unit.conftest import break_connection
from tests.unit.mini import INI, PLUGINS, ROOT, Mini, sample
from tests.unit.patience import PATIENCE


@pytest.fixture
def host(any_host: Host) -> testinfra.host.Host:
    """As a suite gets it, over each kind of host."""
    return suite_host(any_host)


def test_it_is_testinfras(host: testinfra.host.Host) -> None:
    assert type(host) is testinfra.host.Host
    assert host.file("/etc/passwd").contains("root")


def test_a_command_is_one_line_for_the_shell(host: testinfra.host.Host) -> None:
    result = host.run("echo one; echo two >&2; exit 3")
    assert (result.rc, result.stdout, result.stderr) == (3, "one\n", "two\n")
    assert (result.succeeded, result.failed) == (False, True)


def test_arguments_are_quoted(host: testinfra.host.Host) -> None:
    words = ["a b", "$HOME", "; exit 3", "'", '"', "机密容器", ""]
    result = host.run("printf '%%s|' %s %s %s %s %s %s %s", *words)
    assert result.stdout == "".join(f"{word}|" for word in words)


def test_what_a_command_has_to_end_with(host: testinfra.host.Host) -> None:
    assert host.check_output("echo %s", "a  b") == "a  b"
    assert host.run_test("test -d %s", "/").succeeded
    assert host.run_expect([7], "exit 7").rc == 7
    with pytest.raises(AssertionError, match="Unexpected exit code 1"):
        host.check_output("false")
    with pytest.raises(AssertionError, match="Unexpected exit code 2"):
        host.run_test("exit 2")
    with pytest.raises(AssertionError, match="Unexpected exit code 7"):
        host.run_expect([0], "exit 7")


def test_exists_means_on_path(host: testinfra.host.Host) -> None:
    assert host.exists("cat")
    assert not host.exists("fstab")  # a file of /etc, and no command
    assert not host.exists("no-such-command-at-all")


def test_modules(host: testinfra.host.Host, tmp_path: Path) -> None:
    path = tmp_path / "a file"
    path.write_bytes("机密\n".encode() + b"\xff")
    path.chmod(0o640)
    (tmp_path / "link").symlink_to(path)
    file = host.file(str(path))
    assert (file.exists, file.is_file, file.is_directory, file.mode) == (True, True, False, 0o640)
    assert file.content == path.read_bytes()
    assert file.content_string == "机密\n\udcff"
    assert host.file(str(tmp_path / "link")).linked_to == str(path)
    assert sorted(host.file(str(tmp_path)).listdir()) == ["a file", "link"]
    assert not host.file(str(tmp_path / "none")).exists
    assert host.system_info.type == "linux"
    assert host.addr("127.0.0.1").is_resolvable
    assert host.user().name == host.check_output("id -un")


def test_sudo_is_sudo(host: testinfra.host.Host, tmp_path: Path) -> None:
    sudo = tmp_path / "sudo"
    sudo.write_text('#!/bin/sh\necho "sudo: $*"\n')
    sudo.chmod(0o755)
    with host.sudo("somebody"):
        line = host.backend.get_command("id %s", "a b")
    said = host.check_output(f"PATH={tmp_path}:$PATH; {line}")
    assert said == "sudo: -u somebody /bin/sh -c id 'a b'"
    assert host.check_output("echo again") == "again"


def test_a_command_has_a_deadline(any_host: Host) -> None:
    host = suite_host(any_host, 0.5)
    with pytest.raises(CommandTimeout, match=r"still running after 0\.5 s"):
        host.run("sleep 1000")
    with pytest.raises(CommandTimeout, match=r"still running after 0\.2 s"):
        host.run("sleep 1000", timeout=0.2)
    assert host.run("sleep 0.7", timeout=PATIENCE).succeeded


def test_the_profile_says_how_long_a_command_may_take() -> None:
    def profile(**seconds: float) -> BaseProfile:
        return cast(BaseProfile, SimpleNamespace(budget=seconds))

    assert budget.command(profile(command=7.0, test=9.0)) == 7.0
    assert budget.command(profile(test=9.0)) == TIMEOUT


def test_an_unknown_keyword_is_no_silence(host: testinfra.host.Host) -> None:
    with pytest.raises(TypeError, match="timeuot"):
        host.run("true", timeuot=3)


def test_more_output_than_is_kept_is_told(host: testinfra.host.Host) -> None:
    with pytest.raises(LabError, match=f"printed {CAPTURE + 1} bytes to stdout") as caught:
        host.run("head -c %s /dev/zero | tr '\\0' x", str(CAPTURE + 1))
    assert "filter it on the host" in str(caught.value.hint)


def test_a_lost_connection_is_made_anew(own: Host) -> None:
    host = suite_host(own)
    assert host.check_output("echo before") == "before"
    break_connection(own)
    assert host.check_output("echo after") == "after"


def test_each_command_is_in_the_record(recorded: tuple[Host, Path]) -> None:
    lab_host, path = recorded
    host = suite_host(lab_host, 0.5)
    host.run("exit 4")
    with pytest.raises(CommandTimeout):
        host.run("sleep 1000")
    events = [json.loads(line) for line in path.read_text().splitlines()]
    assert [(e["argv"], e["rc"], e["error"]) for e in events] == [
        (["sh", "-c", "exit 4"], 4, None),
        (["sh", "-c", "sleep 1000"], 124, "CommandTimeout"),
    ]


def test_nothing_is_kept_from_one_to_the_next(any_host: Host) -> None:
    first, second = suite_host(any_host), suite_host(any_host)
    assert first is not second
    assert first.file is not second.file
    assert first.file("/")._host is first
    assert second.file("/")._host is second


def test_testinfras_options_are_unknown() -> None:
    """They would be accepted and not gone by, in a tool that changes hosts."""
    for option in ("--hosts=ssh://other", "--sudo", "--connection=ssh"):
        words = [sys.executable, "-m", "pytest", option, "-m", "acceptance", "--collect-only"]
        done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == pytest.ExitCode.USAGE_ERROR, done.stdout
        assert f"unrecognized arguments: {option}" in done.stderr


# Programs that a lab has and the machine of these tests may lack.
PROGRAMS = {
    "docker": "exit 0",
    "systemctl": '[ "$*" = "is-active containerd" ]',
    "service": '[ "$*" = "containerd status" ]',
}


class Documented(Mini):
    """A mini-suite with the tests of a lab's own that CONTRIBUTING.md shows."""

    def __init__(self, folder: Path, more: str = "") -> None:
        super().__init__(folder, plugins=[*PLUGINS, "tests.sample.platform"])
        (folder / "test_mini.py").unlink()
        local = folder / "suites" / "local"
        local.mkdir(parents=True)
        (folder / "suites" / "test_platform.py").write_text(sample("suite_platform"))
        shutil.copy(ROOT / "suites" / "conftest.py", folder / "suites")
        (local / "test_a_lab.py").write_text(documented() + more)
        (folder / "pytest.ini").write_text(f"{INI}    local: a lab's own\n")
        self.programs = folder / "bin"
        self.programs.mkdir()
        for name, script in PROGRAMS.items():
            (self.programs / name).write_text(f"#!/bin/sh\n{script}\n")
            (self.programs / name).chmod(0o755)

    @property
    def environ(self) -> dict[str, str]:
        environ = super().environ
        return environ | {"PATH": f"{self.programs}:{environ['PATH']}"}

    def outcomes(self, *words: str) -> list[tuple[str, str]]:
        """The tests of a run in their order, each with what came of it."""
        _, out = self.pytest("-p", "pytest_order.plugin", "--order-scope=session", *words)
        assert "-- Docs:" not in out, out  # no warning of an unknown mark
        tests = [event for event in self.record() if event["kind"] == "test"]
        return [(event["nodeid"].rpartition("::")[2], event["outcome"]) for event in tests]


def documented() -> str:
    """The example of CONTRIBUTING.md."""
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "CONTRIBUTING.md").read_text(), re.S)
    (example,) = [block for block in blocks if "def test_passwd_file(host)" in block]
    return str(example)


def test_a_labs_own_tests_run_after_the_guides(tmp_path: Path) -> None:
    mini = Documented(tmp_path / "m")
    names = re.findall(r"def (test_\w+)", documented())
    assert len(names) > 1
    expected = [("test_of_the_guide", "passed"), *((name, "passed") for name in names)]
    assert mini.outcomes("-m", "acceptance") == expected
    assert mini.outcomes("-m", "local") == expected[1:]
    lines = [e["line"] for e in mini.record() if e["kind"] == "command"]
    assert any("/etc/passwd" in line for line in lines), "its commands are in the record"


def test_a_labs_own_test_can_fail_and_names_the_deadline(tmp_path: Path) -> None:
    more = "\n\ndef test_slow(host):\n    host.run('sleep 1000', timeout=0.5)\n"
    mini = Documented(tmp_path / "m", more)
    assert ("test_slow", "failed") in mini.outcomes("-m", "local")
    (slow,) = [e for e in mini.record() if e["kind"] == "test" and "slow" in e["nodeid"]]
    assert "still running after 0.5 s" in slow["message"]
