"""A host at the end of a run, over a real sshd: kept or put back, and what is said of it."""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

from harness import exits
from tests.sample import during
from tests.unit.conftest import Sshd
from tests.unit.mini import Mini
from tests.unit.patience import PATIENCE


def _mini(sshd: Sshd, folder: Path, two: Callable[[Any], None] = during.nothing) -> Mini:
    """A mini-suite whose host is reached by ssh; its profile is a file with a space in its name."""
    end, mini = sshd.endpoint, Mini(folder, two)
    (mini.folder / "my lab.toml").write_text(
        'extends = "profiles/vlab.toml"\n[target]\nkind = "ssh"\n'
        f'address = "ssh://{end.user}@{end.host}:{end.port}"\n'
        f'identity = "{end.identity}"\n'
        f'known_hosts = "{end.known_hosts}"'
    )
    return mini


REMOTE = ["-m", "acceptance", "--profile", "my lab.toml"]


def _said(out: str, what: str) -> str:
    (line,) = [line for line in out.splitlines() if line.startswith(f"{what}: ")]
    return line.partition(": ")[2]


def _pasted(line: str, *words: str) -> subprocess.CompletedProcess[str]:
    whole = f"{line} {shlex.join(words)}"
    return subprocess.run(["sh", "-c", whole], capture_output=True, text=True, timeout=PATIENCE)


def test_a_kept_host_can_be_entered_and_cleaned_up(sshd: Sshd, tmp_path: Path) -> None:
    mini = _mini(sshd, tmp_path / "m")
    status, out = mini.pytest(*REMOTE, "--keep", "always", local=False)
    assert status == 0, out
    assert mini.made() == ["made-one", "made-three", "made-two"]
    entered = _pasted(_said(out, "to get in"), "ls", str(mini.host))
    assert "made-two" in entered.stdout, entered.stderr
    clean = _said(out, "to clean up")
    assert clean.startswith("python -m harness recover ")
    status, out = mini.harness(*shlex.split(clean)[3:])
    assert status == 0, out
    assert mini.made() == []


def test_stop_at_first_keeps_all_and_says_the_ways_in(sshd: Sshd, tmp_path: Path) -> None:
    mini = _mini(sshd, tmp_path / "m", during.find_no_card)
    plugin = "\ndef pytest_acceptance_kept(run):\n    return [f'into it: {run.host.name}']\n"
    conftest = mini.folder / "conftest.py"
    conftest.write_text(conftest.read_text() + plugin)
    status, out = mini.pytest(*REMOTE, "--stop-at-first", local=False)
    assert status == exits.FAILED
    assert "stopping after 1 failures" in out
    assert mini.made() == ["made-one", "made-two"], "the third was not begun, nothing was undone"
    said = [line for line in out.splitlines() if line.startswith(("to get in", "into", "to clean"))]
    assert [line.partition(":")[0] for line in said] == ["to get in", "into it", "to clean up"]
    status, out = mini.harness(*shlex.split(_said(out, "to clean up"))[3:])
    assert (status, mini.made()) == (exits.PASSED, []), out


def test_stop_at_first_and_what_else_is_said(tmp_path: Path) -> None:
    mini = Mini(tmp_path / "m")
    status, out = mini.pytest("-m", "acceptance", "--stop-at-first", "--keep", "never")
    assert status == exits.USAGE
    assert "--stop-at-first keeps the host, and --keep never does not." in out
    assert mini.pytest("-m", "acceptance", "--stop-at-first")[0] == exits.PASSED
    assert mini.made() == [], "nothing failed"


def test_a_host_from_the_environment_is_named_by_what_is_said(tmp_path: Path) -> None:
    mini = Mini(tmp_path / "m")
    status, out = mini.pytest(
        "-m", "acceptance", "--keep", "always", environ={"ACCEPT_TARGET__KIND": "local"}
    )
    assert status == 0
    assert _said(out, "to get in") == "this machine"
    program = "python -m harness"
    clean = f"ACCEPT_TARGET__KIND=local {program} recover --profile vlab --allow-local"
    assert _said(out, "to clean up") == clean
    setting, *args = shlex.split(clean.replace(program, ""))
    assert mini.harness(*args, environ=dict([setting.split("=")]))[0] == 0
    assert mini.made() == []


def test_two_runs_on_one_host(sshd: Sshd, tmp_path: Path) -> None:
    """The second is refused by name; kill -9 of the first leaves no connection behind."""
    before = sshd.connections()
    mini = _mini(sshd, tmp_path / "m", during.hang)
    first = mini.start(*REMOTE, local=False)
    first.until("hung")
    for args in (REMOTE, ["--recover", *REMOTE[2:]]):
        status, out = mini.pytest(*args, local=False)
        assert status == exits.REFUSED
        assert f"process {first.pid}, run {mini.journals()[0].partition('.')[0]}" in out
        assert mini.made() == ["made-one", "made-two"]
    first.kill()
    status, out = mini.pytest("--recover", *REMOTE[2:], local=False)
    assert status == 0, out
    assert mini.made() == []
    assert mini.journals() == []
    assert sshd.connections() == before


def test_what_an_earlier_run_made_and_kept_is_known_as_ours(tmp_path: Path) -> None:
    mini = Mini(tmp_path / "m", during.keep_for_later_runs)
    for args, expected in (([], False), (["--restore"], True), ([], False)):
        assert mini.pytest("-m", "acceptance", *args)[0] == 0
        facts = {e["name"]: e["value"] for e in mini.record() if e["kind"] == "fact"}
        assert facts["ours"] == [expected, False]
