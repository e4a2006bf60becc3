"""Programs that a host lacks: how a failed command tells of one, and which package brings it."""

from __future__ import annotations

import re
import shlex
from collections.abc import Collection, Sequence
from dataclasses import dataclass

# Program -> its package on Debian 12 and 13, and on openEuler and RHEL (dnf); "" where we know of
# none. In docker's own repositories its two are docker-ce and containerd.io.
_PACKAGES = {
    "awk": ("gawk", "gawk"),
    "ctr": ("containerd", "containerd"),
    "curl": ("curl", "curl"),
    "debugfs": ("e2fsprogs", "e2fsprogs"),
    "dmesg": ("util-linux", "util-linux"),
    "dnf": ("dnf", "dnf"),
    "docker": ("docker.io", "docker-engine"),
    "e2fsck": ("e2fsprogs", "e2fsprogs"),
    "find": ("findutils", "findutils"),
    "findmnt": ("util-linux", "util-linux"),
    "flock": ("util-linux", "util-linux"),
    "fuser": ("psmisc", "psmisc"),
    "getconf": ("libc-bin", "glibc-common"),
    "git": ("git", "git"),
    "grep": ("grep", "grep"),
    "gzip": ("gzip", "gzip"),
    "ip": ("iproute2", "iproute"),
    "iptables": ("iptables", "iptables"),
    "journalctl": ("systemd", "systemd"),
    "kata-runtime": ("", "kata-containers"),
    "ldconfig": ("libc-bin", "glibc"),
    "losetup": ("mount", "util-linux"),
    "lsblk": ("util-linux", "util-linux"),
    "lspci": ("pciutils", "pciutils"),
    "modinfo": ("kmod", "kmod"),
    "modprobe": ("kmod", "kmod"),
    "mount": ("mount", "util-linux"),
    "mountpoint": ("util-linux", "util-linux"),
    "nsenter": ("util-linux", "util-linux"),
    "pgrep": ("procps", "procps-ng"),
    "pidof": ("sysvinit-utils", "procps-ng"),
    "ping": ("iputils-ping", "iputils"),
    "ps": ("procps", "procps-ng"),
    "python3": ("python3", "python3"),
    "qemu-img": ("qemu-utils", "qemu-img"),
    "resize2fs": ("e2fsprogs", "e2fsprogs"),
    "rmmod": ("kmod", "kmod"),
    "rpm": ("rpm", "rpm"),
    "sed": ("sed", "sed"),
    "setpriv": ("util-linux", "util-linux"),
    "setsid": ("util-linux", "util-linux"),
    "sfdisk": ("fdisk", "util-linux"),
    "sudo": ("sudo", "sudo"),
    "sysctl": ("procps", "procps-ng"),
    "systemctl": ("systemd", "systemd"),
    "systemd-run": ("systemd", "systemd"),
    "tar": ("tar", "tar"),
    "udevadm": ("udev", "systemd-udev"),
    "umount": ("mount", "util-linux"),
    "xargs": ("findutils", "findutils"),
}
# What there is to say of a program beside its package.
_ELSEWHERE = {
    "kata-runtime": "it may be in /opt/kata/bin: link it, of the same kata as the shim, into "
    "/usr/local/bin; kata 4 and the Rust runtime have kata-ctl instead, which is not known here",
}
# coreutils, which brings what else the harness and its scripts call.
_COREUTILS = """
    cat chmod chroot cp cut date df dirname env head id ls mkdir mktemp mv od readlink rm rmdir
    sha256sum sleep sort stat sync tail tee test timeout touch tr true truncate uname wc
"""
_PACKAGES |= dict.fromkeys(_COREUTILS.split(), ("coreutils", "coreutils"))
KNOWN = frozenset(_PACKAGES)


def advice(programs: Collection[str]) -> str:
    """How to get programs on a host: the packages of each family that bring them."""
    debian, other = (
        " ".join(sorted({_PACKAGES[p][family] for p in programs if p in _PACKAGES} - {""}))
        for family in (0, 1)
    )
    said = []
    if debian == other and debian:
        said.append(f"install {debian}")
    elif debian or other:
        each = ((debian, "Debian"), (other, "openEuler, RHEL"))
        said.append("install " + ", or ".join(f"{names} ({who})" for names, who in each if names))
    for program in sorted(programs):
        known = _PACKAGES.get(program, ("", ""))
        if "" in known:
            where = " on Debian" if known[1] else ""
            said.append(f"which package brings '{program}'{where} is not known here")
        if program in _ELSEWHERE:
            said.append(_ELSEWHERE[program])
    return "; ".join(said)


@dataclass(frozen=True)
class Absent:
    """A program that could not be executed, by the words of what should have done so.

    ``why`` is the end of a sentence about it. ``where`` is "" for the host itself, else the
    container, or the tree under a chroot, that a command line leads into.
    """

    program: str
    why: str
    where: str = ""

    def sentence(self, host: str) -> str:
        """What is wrong, for a message."""
        place = f"In {self.where} on '{host}'" if self.where else f"On '{host}'"
        return f"{place} the program '{self.program}' {self.why}."

    @property
    def hint(self) -> str:
        """What to do about it."""
        if self.where == CONTAINER:
            return f"is '{self.program}' in the image, and on the PATH that the image sets?"
        if "/" in self.program:
            return f"see 'ls -l {shlex.quote(self.program)}' and the first line of that file there"
        if self.why != MISSING:
            return f"see 'command -v {shlex.quote(self.program)}' there, and what it leads to"
        if self.where:
            return f"it has to be installed there, not on the host: {advice([self.program])}"
        return advice([self.program])


CONTAINER = "the container"
MISSING = "is missing"
MISSING_FILE = "is missing, or the interpreter or loader that it names"
FORBIDDEN = "is there, and may not be executed"
FOREIGN = "is there, and is none for this machine"
_WHY = {
    "command not found": MISSING,
    "not found": MISSING,
    "executable file not found in $PATH": MISSING,
    "No such file or directory": MISSING,
    "no such file or directory": MISSING,
    "cannot execute: required file not found": MISSING_FILE,
    "Permission denied": FORBIDDEN,
    "permission denied": FORBIDDEN,
    "cannot execute: Permission denied": FORBIDDEN,
    "Is a directory": FORBIDDEN,
    "is a directory": FORBIDDEN,
    "cannot execute: Is a directory": FORBIDDEN,
    "Exec format error": FOREIGN,
    "exec format error": FOREIGN,
    "cannot execute binary file": FOREIGN,
    "cannot execute binary file: Exec format error": FOREIGN,
    "cannot execute: Exec format error": FOREIGN,
}
_END = "|".join(sorted(map(re.escape, _WHY), key=len, reverse=True))
# What cannot be said of anything else, whatever the status: coreutils and util-linux ("failed to
# ..."; flock ends with 69, runuser with 1), iproute2's "ip netns exec", systemd-run, sudo, and the
# Go library (os/exec) behind ctr, docker and CNI's plugins.
_CLEAR = (
    rf"^[\w./-]+: failed to (?:run command|execute) ['‘]?(?P<program>.+?)['’]?: (?P<end>{_END})$",
    rf"^exec of \"(?P<program>.+?)\" failed: (?P<end>{_END})$",
    rf"^Failed to find executable (?P<program>.+?): (?P<end>{_END})$",
    r"^sudo: (?P<program>\S+): (?P<end>command not found)$",
    rf"(?<![\\\w])exec: \"(?P<program>[^\"]+)\": (?:stat [^:]+: )?(?P<end>{_END})(?:$|: unknown)",
    rf"\bfork/exec (?P<program>\S+): (?P<end>{_END})(?:$|: unknown)",
)
# What is said of files, too, and means a program with 126 or 127 alone: the words of a shell, with
# or without a line's number ("sh: 1: docker: not found", "bash: line 2: exec: docker: not found",
# "a.sh: line 3: docker: command not found"), of env, nice and xargs ("env: 'docker': No such ...").
_NAME = r"(?:exec: )?['‘]?(?P<program>[^:'’]+)['’]?"
_BY_STATUS = (
    rf"^(?:\S*/)?(?:env|nice|xargs|(?:ba|da|a|k|mk|z)?sh): {_NAME}: (?P<end>{_END})$",
    rf"^.+?: (?:line )?\d+: {_NAME}: (?P<end>{_END})$",
    rf"^.+?: {_NAME}: (?P<end>command not found|cannot execute[^:]*(?:: Exec format error)?)$",
    r"^zsh:(?:\d+:)? (?P<end>command not found): (?P<program>.+)$",
)
_INTERPRETER = re.compile(
    r"^.+?: (?P<program>[^:]+): (?P<interpreter>[^:]+): bad interpreter: (?:No such file.*|Perm.*)$"
)
# The loader's words, of glibc (elf/dl-load.c) and of musl (ldso/dynlink.c).
_LIBRARY = re.compile(
    r"^(?P<program>[^:]+): error while loading shared libraries: (?P<library>[^:]+): .+$"
    r"|^Error loading shared library (?P<other>[^:]+): .+ \(needed by (?P<user>.+)\)$"
)
# execvp(3) hands what the kernel does not know to sh, which takes an ELF file for a script.
_ELF_AS_SCRIPT = re.compile(r"^(?P<program>[^:]+): (?:line )?\d+: .*\x7fELF")
_AFTERWORD = re.compile(r"^\s*$|^(?:Run|See|Try) '")


def absent(argv: Sequence[str], status: int, said: str) -> Absent | None:
    """The program for lack of which a command ended with this status; None where there is none.

    `said` is what it wrote, of which the last line counts: a program that ends with 127 of its own
    accord says something else there, or nothing.
    """
    lines = [line.rstrip() for line in said.splitlines() if not _AFTERWORD.match(line)]
    if status == 0 or not lines:
        return None
    found = _read(lines[-1], by_status=status in (126, 127))
    if found is None:
        return None
    program, why = found
    # runc's words for what it was to start (libcontainer/process_linux.go)
    inside = "container process" in lines[-1]
    return Absent(program, why, CONTAINER if inside else _where(argv, program))


def _read(line: str, *, by_status: bool) -> tuple[str, str] | None:
    """(program, why) of a line."""
    if by_status:
        if found := _ELF_AS_SCRIPT.match(line):
            return found["program"], FOREIGN
        if found := _INTERPRETER.match(line):
            return found["program"], f"names '{found['interpreter']}' to run it, which is missing"
        if found := _LIBRARY.match(line):
            library = found["library"] or found["other"]
            return found["program"] or found["user"], f"lacks its library '{library}'"
    for pattern in (*_CLEAR, *(_BY_STATUS if by_status else ())):
        if found := re.search(pattern, line):
            program, why = found["program"], _WHY[found["end"]]
            file = why == MISSING and "/" in program
            return program, MISSING_FILE if file else why
    return None


def _where(argv: Sequence[str], program: str) -> str:
    """The place in which a command line looks for a program that is not its own entry to it."""
    words = list(argv)
    for index, word in enumerate(words):
        name = word.rpartition("/")[2]
        verbs = words[index + 1 : index + 3]
        if word == program:
            break
        if name == "ctr" and verbs in (["task", "exec"], ["tasks", "exec"]):
            return CONTAINER
        if name in ("docker", "nerdctl", "podman", "ctr") and verbs[:1] in (["run"], ["exec"]):
            return CONTAINER
        if name == "chroot" and verbs:
            return f"'{verbs[0]}'"
    return ""
