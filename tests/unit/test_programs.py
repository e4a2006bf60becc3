"""Programs that are missing or cannot be executed, by the words of what should have run them."""

from __future__ import annotations

import re

import pytest

from harness.host.host import NEEDED
from harness.host.programs import (
    CONTAINER,
    FORBIDDEN,
    FOREIGN,
    KNOWN,
    MISSING,
    MISSING_FILE,
    absent,
    advice,
)

# Status, words, program, why. Said by coreutils 9.1, util-linux 2.38, dash 0.5.12 and bash 5.2 in
# LC_ALL=C; of others as their sources have it: bash before 5.2 (execute_cmd.c), busybox's ash, zsh,
# iproute2 (lib/exec.c), systemd (run.c), sudo, Go (os/exec), glibc and musl (their loaders).
TOLD = [
    (127, "timeout: failed to run command 'qemu-img': No such file or directory", MISSING),
    (127, "nsenter: failed to execute qemu-img: No such file or directory", MISSING),
    (69, "flock: failed to execute qemu-img: No such file or directory", MISSING),
    (1, "runuser: failed to execute qemu-img: No such file or directory", MISSING),
    (127, "env: 'qemu-img': No such file or directory", MISSING),
    (127, "/usr/bin/env: ‘qemu-img’: No such file or directory", MISSING),
    (127, "xargs: qemu-img: No such file or directory", MISSING),
    (127, "sh: 1: qemu-img: not found", MISSING),
    (127, "sh: 12: exec: qemu-img: not found", MISSING),
    (127, "bash: line 1: qemu-img: command not found", MISSING),
    (127, "bash: qemu-img: command not found", MISSING),
    (127, "bash: line 1: exec: qemu-img: not found", MISSING),
    (127, "/opt/a script.sh: line 3: qemu-img: command not found", MISSING),
    (127, "sh: qemu-img: not found", MISSING),
    (127, "zsh:1: command not found: qemu-img", MISSING),
    (1, "sudo: qemu-img: command not found", MISSING),
    (1, "Failed to find executable qemu-img: No such file or directory", MISSING),
    (255, 'exec of "qemu-img" failed: No such file or directory', MISSING),
    (1, 'cannot grow: exec: "qemu-img": executable file not found in $PATH', MISSING),
    (127, "warming up\nsh: 1: qemu-img: not found\n", MISSING),
    (127, "timeout: failed to run command '/opt/a': No such file or directory", MISSING_FILE),
    (127, "bash: line 1: /opt/a: cannot execute: required file not found", MISSING_FILE),
    (127, "sh: 1: /opt/a: not found", MISSING_FILE),
    (126, "bash: /opt/a: /no/sh: bad interpreter: No such file or directory", "'/no/sh' to run it"),
    (126, "timeout: failed to run command '/opt/a': Permission denied", FORBIDDEN),
    (126, "env: '/opt/a': Permission denied", FORBIDDEN),
    (126, "sh: 1: /opt/a: Permission denied", FORBIDDEN),
    (126, "bash: line 1: /opt/a: Is a directory", FORBIDDEN),
    (126, "bash: line 1: exec: /opt/a: cannot execute: Permission denied", FORBIDDEN),
    (126, "sh: 1: /opt/a: Exec format error", FOREIGN),
    (126, "bash: line 1: /opt/a: cannot execute binary file: Exec format error", FOREIGN),
    (126, "/opt/a: /opt/a: cannot execute binary file", FOREIGN),
    (127, "/opt/a: 1: \x7fELF\x02\x01: not found", FOREIGN),
    (1, "fork/exec /opt/a: exec format error", FOREIGN),
    (
        127,
        "qemu-img: error while loading shared libraries: libaio.so.1: cannot open shared object "
        "file: No such file or directory",
        "'libaio.so.1'",
    ),
    (
        127,
        "Error loading shared library libaio.so.1: No such file or directory (needed by qemu-img)",
        "'libaio.so.1'",
    ),
]


@pytest.mark.case(
    "host",
    "the words of each way not to find or to execute a program",
    source="coreutils 9.1, util-linux 2.38, dash 0.5.12, bash 5.2; others as their sources have it",
)
@pytest.mark.parametrize(("status", "said", "why"), TOLD)
def test_a_program_that_cannot_be_run_is_named(status: int, said: str, why: str) -> None:
    found = absent(["sh"], status, said)
    assert found is not None
    assert found.program == ("/opt/a" if "/opt/a:" in said or "'/opt/a'" in said else "qemu-img")
    assert why in found.why
    assert f"'{found.program}' {found.why}." in found.sentence("lab")
    assert found.hint


# A program's own end, whatever its status.
OWN = [
    (127, ""),
    (127, "no such user: 127"),
    (127, "cat: /etc/x: No such file or directory"),
    (1, "cat: /etc/x: No such file or directory"),
    (126, "qemu-img: Could not open '/x': Permission denied"),
    (2, "sh: 1: cannot open /x: No such file"),
    (1, "bash: line 1: /x: Permission denied"),  # a redirection
    (2, "make: gcc: No such file or directory\nmake: *** [a.o] Error 127"),
    (127, "sh: 1: which: not found\nthe licence has run out"),
    (0, "sh: 1: qemu-img: not found"),
    # kata-runtime 3.15.0, check-no-modules.err: it goes on without that program
    (1, 'level=warning error="exec: \\"modprobe\\": executable file not found in $PATH" pid=1'),
]


@pytest.mark.case(
    "host",
    "status 126 or 127 that is the program's own",
    source="kata-runtime 3.15.0 check; dash, bash, make",
)
@pytest.mark.parametrize(("status", "said"), OWN)
def test_a_programs_own_end_is_none(status: int, said: str) -> None:
    assert absent(["sh"], status, said) is None


RUNC = (
    'exec failed: unable to start container process: exec: "{}": executable file not found in '
    "$PATH: unknown"
)
EXEC = ("ctr", "task", "exec", "--exec-id", "x", "arch")
PLACES = [
    (("qemu-img", "resize"), "timeout: failed to run command 'qemu-img': No such file", ""),
    ((*EXEC, "nvidia-smi"), f"ctr: {RUNC.format('nvidia-smi')}", CONTAINER),
    ((*EXEC, "sh", "-c", "nvidia-smi"), "sh: 1: nvidia-smi: not found", CONTAINER),
    (EXEC, "timeout: failed to run command 'ctr': No such file or directory", ""),
    (
        ("sh", "-c", "docker run --rm x"),
        f"docker: Error response from daemon: {RUNC.format('python3')}.\n\n"
        "Run 'docker run --help' for more information",
        CONTAINER,
    ),
    (("docker", "run", "x"), "env: 'docker': No such file or directory", ""),
    (
        ("nsenter", "--mount=/x", "--", "chroot", "/run/guest", "stat", "/"),
        "chroot: failed to run command 'stat': No such file or directory",
        "'/run/guest'",
    ),
    (("chroot", "/run/guest", "env", "-i", "sh"), "env: 'sh': No such file", "'/run/guest'"),
    (
        ("nsenter", "--mount=/x", "--", "chroot", "/run/guest", "stat"),
        "nsenter: failed to execute chroot: No such file or directory",
        "",
    ),
]


@pytest.mark.case(
    "host",
    "a program that a container or the guest image lacks, and not the host",
    source="runc, docker 27, chroot of coreutils 9.1",
)
@pytest.mark.parametrize(("argv", "said", "where"), PLACES)
def test_a_place_is_where_a_command_line_leads(
    argv: tuple[str, ...], said: str, where: str
) -> None:
    found = absent(argv, 127, re.sub(r"No such file$", "No such file or directory", said))
    assert found is not None
    assert found.where == where
    assert ("On 'lab'" if not where else f"In {where} on 'lab'") in found.sentence("lab")
    if where == CONTAINER:
        assert "is not known" not in found.hint


def test_advice_names_the_packages_of_each_family() -> None:
    assert advice(["lspci"]) == "install pciutils"
    assert advice(["qemu-img", "sfdisk"]) == (
        "install fdisk qemu-utils (Debian), or qemu-img util-linux (openEuler, RHEL)"
    )
    assert advice(["xyz"]) == "which package brings 'xyz' is not known here"
    assert advice(["kata-runtime"]).startswith(
        "install kata-containers (openEuler, RHEL); which package brings 'kata-runtime' on Debian "
        "is not known here; it may be in /opt/kata/bin: "
    )


def test_every_program_that_the_handshake_asks_for_has_a_package() -> None:
    assert {*NEEDED.split()} <= KNOWN
