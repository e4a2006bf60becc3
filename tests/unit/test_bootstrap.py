"""bootstrap, where things are missing: a PATH of our own, and a package manager that notes."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence, Set
from pathlib import Path

import pytest

from tests.unit.mini import ROOT

OWN = ["sh", "dirname", "grep", "rm", "chmod", "ls", "env"]  # what bootstrap itself calls
NEEDED = ["ssh", "sshd", "mke2fs", "cc", "setpriv", "mmdebstrap", "chromium"]
NOTE = 'echo "${0##*/} $*" >>"$NOTES"; ls "$DPKG_ROOT/usr/sbin" >>"$NOTES"'
# bootstrap looks into the real /usr/sbin as well: none of its.
LACKS = frozenset({"ssh", "cc"})


class Machine:
    """A checkout in a folder with a space in its name, and programs of the test's choice."""

    def __init__(
        self, folder: Path, *, uid: int = 0, managers: Sequence[str] = (), lacks: Set[str] = LACKS
    ) -> None:
        self.folder = folder / "a checkout"
        self.bin = folder / "bin"
        self.notes = folder / "notes"
        self.root = folder / "root"
        tox = self.folder / ".venv" / "bin" / "tox"
        for place in (tox.parent, self.bin, self.root / "usr" / "sbin"):
            place.mkdir(parents=True)
        shutil.copy(ROOT / "bootstrap", self.folder)
        for name in OWN:
            (self.bin / name).symlink_to(shutil.which(name) or "/nowhere")
        for name in set(NEEDED) - lacks:
            _program(self.bin / name, "exit 0")
        _program(self.bin / "id", f"echo {uid}")
        _program(self.bin / "python3", "exit 0")
        for manager in managers:
            _program(self.bin / manager, NOTE)
        _program(tox, "echo 4.67.13 from here")

    def bootstrap(self, *args: str) -> subprocess.CompletedProcess[str]:
        """Run it from elsewhere."""
        environ = {"PATH": str(self.bin), "NOTES": str(self.notes), "DPKG_ROOT": str(self.root)}
        argv = [str(self.folder / "bootstrap"), *args]
        return subprocess.run(argv, env=environ, cwd="/", capture_output=True, text=True)

    def noted(self) -> list[str]:
        return self.notes.read_text().splitlines() if self.notes.exists() else []


def _program(path: Path, body: str) -> None:
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)


APT = "apt-get install -y --no-install-recommends openssh-client gcc libc6-dev"
DNF = "dnf install -y openssh-clients gcc glibc-devel"


@pytest.mark.parametrize(("manager", "line"), [("apt-get", APT), ("dnf", DNF)])
def test_an_ordinary_user_is_told_the_line(tmp_path: Path, manager: str, line: str) -> None:
    machine = Machine(tmp_path, uid=1000, managers=[manager])
    done = machine.bootstrap("echo", "ran")
    assert done.returncode == 1
    assert f"please run as root: {line}" in done.stderr
    assert done.stdout == ""
    assert machine.noted() == []


def test_root_installs_by_apt_and_starts_no_service(tmp_path: Path) -> None:
    machine = Machine(tmp_path, managers=["apt-get", "dnf"])
    done = machine.bootstrap("sh", "-c", 'echo "$1" in "$PWD"', "sh", "a word")
    assert done.returncode == 0, done.stderr
    update, install, policy = machine.noted()
    assert update == "apt-get update -q"
    assert install.startswith(APT)  # a keyring may follow, on what is not Debian
    assert policy == "policy-rc.d"  # only while packages are installed
    assert [*(machine.root / "usr" / "sbin").iterdir()] == []
    assert done.stdout == f"a word in {machine.folder}\n"


def test_root_installs_by_dnf(tmp_path: Path) -> None:
    machine = Machine(tmp_path, managers=["dnf"])
    assert machine.bootstrap().returncode == 0
    assert machine.noted() == [DNF]


def test_an_installation_that_fails_ends_it(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    _program(machine.bin / "dnf", "exit 9")
    done = machine.bootstrap("echo", "ran")
    assert done.returncode == 9
    assert done.stdout == ""


def test_without_a_package_manager_the_packages_are_named(tmp_path: Path) -> None:
    done = Machine(tmp_path).bootstrap("echo", "ran")
    assert done.returncode == 1
    assert "please install the packages of: openssh-client gcc libc6-dev" in done.stderr


def test_where_nothing_is_missing_nothing_is_installed(tmp_path: Path) -> None:
    machine = Machine(tmp_path, uid=1000, managers=["dnf"], lacks=frozenset())
    done = machine.bootstrap("tox", "-e", "unit")
    assert (done.returncode, done.stdout) == (0, "4.67.13 from here\n")
    assert machine.noted() == []


@pytest.mark.parametrize(
    ("command", "wanted"),
    [
        ("tox -e acceptance", False),
        ("pytest -m acceptance", False),
        ("", False),
        ("tox", True),
        ("tox -e tests", True),
        ("tox -e lint,unit", True),
        ("pytest tests/unit", True),
    ],
)
def test_a_browser_is_for_tests_alone(tmp_path: Path, command: str, wanted: bool) -> None:
    machine = Machine(tmp_path, managers=["dnf"], lacks=frozenset({"chromium"}))
    _program(machine.folder / ".venv" / "bin" / "pytest", "exit 0")
    assert machine.bootstrap(*command.split()).returncode == 0
    assert machine.noted() == (["dnf install -y chromium"] if wanted else [])


def test_an_old_python_is_told(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    _program(machine.bin / "python3", "exit 1")
    done = machine.bootstrap()
    assert done.returncode == 1
    assert "Python 3.11 or newer is needed" in done.stderr
