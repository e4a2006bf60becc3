"""A real sshd on loopback, and hosts over it and over this machine."""

from __future__ import annotations

import getpass
import os
import resource
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from harness.host.host import Host, SshEndpoint, open_local, open_ssh
from harness.host.ssh import SshTransport
from harness.record.trace import Trace
from harness.wait import wait_for
from tests.unit.patience import PATIENCE

# AllowTcpForwarding: off, as openEuler has it. SHLVL: bash reads ~/.bashrc for a command from sshd
# at the outermost level alone, and what a developer's does there (100 ms a command, here) is none
# of the tests' business.
SSHD_CONFIG = """
Port {port}
ListenAddress 127.0.0.1
HostKey "{dir}/host_key"
AuthorizedKeysFile "{dir}/key.pub"
PidFile none
StrictModes no
UsePAM no
PasswordAuthentication no
PermitRootLogin prohibit-password
MaxSessions 50
AllowTcpForwarding no
SetEnv SHLVL=2 {setenv}
"""

# A command's parent is timeout(1), which takes ALRM for its own alarm as soon as it waits for the
# command (a moment after its fork it would not know yet whom to end).
IS_WAITED_FOR = 'until grep -q "^State:.S" "/proc/$PPID/status"; do :; done'
TIME_IS_UP = f'{IS_WAITED_FOR}; kill -ALRM "$PPID"'
ENDED = (124, 137)  # what it ends with where it has sent TERM, or KILL after it

# A shell starts what is in the background with SIGINT ignored, and Python then leaves it so: the
# tests of Ctrl-C, and the runs that they start, want it as in a terminal.
signal.signal(signal.SIGINT, signal.default_int_handler)


def runs(pid: int) -> bool:
    """Whether a process of this machine runs; one that nobody has waited for yet does not."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] not in "ZX"


class Sshd:
    """An sshd of our own for our own user; it can be ended, to lose its connections."""

    def __init__(self, directory: Path, setenv: str = "") -> None:
        program = shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin")
        assert program, "these tests need sshd: apt-get install openssh-server"
        self.directory = directory
        for name in ("host_key", "key"):
            keygen = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(directory / name)]
            subprocess.run(keygen, check=True)
        if os.geteuid() == 0:  # sshd's privilege separation, as root alone
            Path("/run/sshd").mkdir(exist_ok=True)
        # sshd has to be told its port, which another process may take until it listens there.
        while not self._start(program, setenv):
            assert "Address already in use" in self._log.read_text(), self._log.read_text()

    def _start(self, program: str, setenv: str) -> bool:
        """Whether it came to listen on the port that was free a moment ago."""
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        key = (self.directory / "host_key.pub").read_text()
        (self.directory / "known_hosts").write_text(f"[127.0.0.1]:{port} {key}")
        config = self.directory / "sshd_config"
        config.write_text(SSHD_CONFIG.format(port=port, dir=self.directory, setenv=setenv))
        self.process = subprocess.Popen(
            [program, "-D", "-e", "-f", str(config)],
            stderr=self._log.open("wb"),
            start_new_session=True,
        )
        self.endpoint = SshEndpoint(
            user=getpass.getuser(),
            host="127.0.0.1",
            port=port,
            identity=self.directory / "key",
            known_hosts=self.directory / "known_hosts",
        )
        listens = f"Server listening on 127.0.0.1 port {port}."
        wait_for(
            "sshd listens",
            lambda: self.process.poll() is not None or listens in self._log.read_text(),
            PATIENCE,
            0.02,
        )
        return self.process.returncode is None

    @property
    def _log(self) -> Path:
        return self.directory / "log"

    def connections(self) -> list[int]:
        """The processes that serve a connection each."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return [int(pid) for pid in children.read_text().split()]

    def close(self) -> None:
        self.process.terminate()
        self.process.wait(PATIENCE)


@pytest.fixture
def deadline_on_call(monkeypatch: pytest.MonkeyPatch) -> None:
    """A command's deadline comes when it says so itself, by `TIME_IS_UP`.

    By the time that has passed, as `hit_deadline` tells it, nobody would know it for one.
    """
    for module in ("host.host", "run.job"):
        monkeypatch.setattr(f"harness.{module}.hit_deadline", lambda result, _: result.rc in ENDED)


def break_connection(host: Host) -> None:
    """Kill the master, so that its connection is gone, and every command over it with it."""
    transport = host._transport
    assert isinstance(transport, SshTransport)
    assert transport._master is not None
    os.kill(transport._master.pid, signal.SIGKILL)
    os.waitid(os.P_PID, transport._master.pid, os.WEXITED | os.WNOWAIT)


@contextmanager
def room(size: int) -> Iterator[None]:
    """Within the block no file of this process's children gets larger than `size` bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.fixture(scope="session")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    """A real sshd on loopback, from a folder with a space in its name."""
    server = Sshd(tmp_path_factory.mktemp("ssh d"))
    yield server
    server.close()


def named(run: str) -> str:
    """A run's id for this process alone: recovering ends what runs of that id do on this machine.

    That would be the other test processes' commands, too.
    """
    return f"{run}-{os.getpid()}"


@pytest.fixture(scope="session")
def _hosts(sshd: Sshd) -> Iterator[dict[str, Host]]:
    with ExitStack() as stack:
        yield {
            "local": stack.enter_context(open_local(become=False)),
            "ssh": stack.enter_context(open_ssh(sshd.endpoint, "loopback", become=False)),
        }


@pytest.fixture(params=["local", "ssh"])
def any_host(request: pytest.FixtureRequest, _hosts: dict[str, Host]) -> Host:
    """Each kind of host in turn: what holds for one has to hold for the other."""
    return _hosts[request.param]


@pytest.fixture
def local(_hosts: dict[str, Host]) -> Host:
    """This machine as a host, without sudo."""
    return _hosts["local"]


@pytest.fixture
def recorded(local: Host, tmp_path: Path) -> Iterator[tuple[Host, Path]]:
    """This machine, with a record of its own."""
    path = tmp_path / "record.jsonl"
    before, local.trace = local.trace, Trace(path)
    yield local, path
    local.trace.close()
    local.trace = before


@pytest.fixture
def own(sshd: Sshd) -> Iterator[Host]:
    """A connection of the test's own, to be broken."""
    with open_ssh(sshd.endpoint, "own", become=False) as host:
        yield host
