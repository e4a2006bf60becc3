"""What the command runner costs over ssh itself."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator
from statistics import median, quantiles

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from harness.host.host import Host, open_ssh
from harness.host.ssh import SshTransport
from tests.unit.conftest import Sshd

ROUNDS = 200
GOAL = 1.3
TRUE = "/bin/true"  # the program, for both: bare `true` is the remote shell's own, and starts none


@pytest.fixture(scope="module")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    """A real sshd on loopback."""
    server = Sshd(tmp_path_factory.mktemp("ssh d"))
    yield server
    server.close()


@pytest.fixture(scope="module")
def host(sshd: Sshd) -> Iterator[Host]:
    """A host over it."""
    with open_ssh(sshd.endpoint, "loopback", become=False) as host:
        yield host


def _seconds(action: Callable[[], object]) -> float:
    started = time.perf_counter()
    action()
    return time.perf_counter() - started


def test_the_door_against_bare_ssh(
    benchmark: BenchmarkFixture, host: Host, capsys: pytest.CaptureFixture[str]
) -> None:
    """`true`, 200 times each, taking turns: what else the machine does falls on both alike."""
    transport = host._transport
    assert isinstance(transport, SshTransport)
    end = transport.endpoint
    argv = [
        "ssh",
        "-F",
        "none",
        "-S",
        str(transport._socket),
        "-p",
        str(end.port),
        "-l",
        end.user,
        end.host,
    ]
    bare: list[float] = []
    runner: list[float] = []

    def ssh() -> None:
        subprocess.run([*argv, TRUE], stdin=subprocess.DEVNULL, capture_output=True, check=True)

    def pair() -> None:
        bare.append(_seconds(ssh))
        runner.append(_seconds(lambda: host.run(TRUE)))

    benchmark.pedantic(pair, rounds=ROUNDS, warmup_rounds=3)  # type: ignore[no-untyped-call]
    del bare[:3], runner[:3]
    ratio = median(runner) / median(bare)
    quick = quantiles(runner)[0] / quantiles(bare)[0]
    benchmark.extra_info.update(bare=median(bare), runner=median(runner), ratio=ratio)
    with capsys.disabled():
        print(
            f"\n{ROUNDS} x true: bare ssh {median(bare) * 1e3:.1f} ms, runner"
            f" {median(runner) * 1e3:.1f} ms (medians): ratio {ratio:.2f}, of first quartiles"
            f" {quick:.2f}; goal {GOAL}"
        )
    assert ratio <= GOAL
