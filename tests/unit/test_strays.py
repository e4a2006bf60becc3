"""What a command left behind that has cleared its environment and its session ends with it.

A login session's scope takes systemd: here the processes are real, and the /proc in which the
script looks for them is one of our own.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.host.connection import STRAYS, sweep_argv
from harness.host.host import Host
from harness.host.transport import LocalTransport
from harness.wait import wait_for
from tests.unit.conftest import runs
from tests.unit.patience import PATIENCE

SCOPES = {
    "pam_systemd": "0::/user.slice/user-0.slice/session-3.scope\n",
    "our own": "0::/system.slice/harness-ssh-4711.scope\n",
    "cgroup v1": "9:pids:/\n1:name=systemd:/user.slice/user-0.slice/session-c1.scope\n0::/\n",
}
OTHER = "0::/user.slice/user-0.slice/session-4.scope\n"
MARK = "HARNESS_COMMAND=run.1"


class Escaped:
    """Processes that left, and a /proc that has them."""

    def __init__(self, proc: Path) -> None:
        self.proc = proc
        self.pids: list[int] = []

    def process(self, scope: str, environ: str = "", parent: int = 1) -> int:
        script = f"env -i {environ} setsid -f sh -c 'echo $$; exec sleep 1000' 2>&1"
        with subprocess.Popen(["sh", "-c", script], stdout=subprocess.PIPE, text=True) as started:
            assert started.stdout is not None
            pid = int(started.stdout.readline())
        self.pids.append(pid)
        self.show(pid, scope, parent)
        return pid

    def show(self, pid: int, scope: str, parent: int) -> None:
        folder = self.proc / str(pid)
        folder.mkdir()
        (folder / "cgroup").write_text(scope)
        (folder / "status").write_text(f"Name:\tsleep\nPPid:\t{parent}\n")
        (folder / "environ").symlink_to(f"/proc/{pid}/environ")


@pytest.fixture
def escaped(tmp_path: Path) -> Iterator[Escaped]:
    found = Escaped(tmp_path)
    yield found
    for pid in found.pids:
        if runs(pid):
            os.kill(pid, 9)


def sweep(escaped: Escaped, scope: str) -> int:
    """Run the script with that /proc; its own process is in the scope, too."""
    (escaped.proc / "self").mkdir()
    (escaped.proc / "self" / "cgroup").write_text(scope)
    ours = f"mkdir {escaped.proc}/$$; cp {escaped.proc}/self/cgroup {escaped.proc}/$$/cgroup\n"
    status = f"printf 'PPid:\\t%s\\n' 1 >{escaped.proc}/$$/status\n"
    script = STRAYS.replace("/proc/", f"{escaped.proc}/").replace("sleep 0.3", "refresh")
    gone = f"for d in {escaped.proc}/[0-9]*; do kill -0 ${{d##*/}} || rm -r $d; done 2>/dev/null"
    words = ["sh", "-c", f"{ours}{status}refresh() {{ {gone}; sleep 0.05; }}\n{script}"]
    return subprocess.run(words, check=False).returncode


@pytest.mark.finding("F9", "a process without its environment, in a session of its own")
@pytest.mark.parametrize("kind", SCOPES)
def test_what_left_its_mark_behind_ends(escaped: Escaped, kind: str) -> None:
    scope = SCOPES[kind]
    stray = escaped.process(scope)
    others = [
        escaped.process(OTHER),  # of another login
        escaped.process(scope, "HARNESS_JOB=other"),  # of a job, or another command
        escaped.process(scope, parent=os.getpid()),  # of what has a mark
    ]
    escaped.show(os.getpid(), scope, parent=1)
    environ = escaped.proc / str(os.getpid()) / "environ"
    environ.unlink()
    environ.write_bytes(f"{MARK}\0".encode())
    sweep(escaped, scope)
    wait_for("the stray has ended", lambda: not runs(stray), PATIENCE, 0.02)
    assert all(runs(pid) for pid in others)


def test_where_the_session_is_not_ours_alone_nothing_is_looked_for(escaped: Escaped) -> None:
    scope = "0::/system.slice/ssh.service\n"
    theirs = escaped.process(scope)
    assert sweep(escaped, scope) == 0
    assert runs(theirs)
    assert LocalTransport().strays == ""


def test_a_sweep_with_strays_has_the_status_of_its_own(any_host: Host) -> None:
    assert any_host.run(*sweep_argv(MARK, any_host._transport.strays)).rc == 0
    assert any_host.run(*sweep_argv(MARK, "exit 3")).rc == 0
