"""System calls that Python's ``os`` lacks, or has only since 3.12 (the guest has 3.13)."""

import ctypes
import os
from typing import Any

CLONE_NEWNS = 0x00020000
CLONE_NEWCGROUP = 0x02000000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWPID = 0x20000000

MS_RDONLY = 1
MS_REMOUNT = 32
MS_BIND = 4096
MS_REC = 16384
MS_PRIVATE = 1 << 18
MS_SLAVE = 1 << 19
MNT_DETACH = 2

_PR_CAPBSET_DROP = 24
_PR_SET_NO_NEW_PRIVS = 38
_SYS_PIVOT_ROOT = 155  # x86-64
_SYS_CAPSET = 126
if os.uname().machine == "aarch64":
    _SYS_PIVOT_ROOT, _SYS_CAPSET = 41, 91
_CAPABILITY_VERSION_3 = 0x20080522
_LAST_CAPABILITY = 40

_libc = ctypes.CDLL(None, use_errno=True)
_os: Any = os  # typed for a Python that is older than the guest's

# Their numbers, by linux/capability.h.
CAPABILITIES = (
    *("CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID"),
    *("SETPCAP", "LINUX_IMMUTABLE", "NET_BIND_SERVICE", "NET_BROADCAST", "NET_ADMIN", "NET_RAW"),
    *("IPC_LOCK", "IPC_OWNER", "SYS_MODULE", "SYS_RAWIO", "SYS_CHROOT", "SYS_PTRACE", "SYS_PACCT"),
    *("SYS_ADMIN", "SYS_BOOT", "SYS_NICE", "SYS_RESOURCE", "SYS_TIME", "SYS_TTY_CONFIG", "MKNOD"),
    *("LEASE", "AUDIT_WRITE", "AUDIT_CONTROL", "SETFCAP", "MAC_OVERRIDE", "MAC_ADMIN", "SYSLOG"),
    *("WAKE_ALARM", "BLOCK_SUSPEND", "AUDIT_READ", "PERFMON", "BPF", "CHECKPOINT_RESTORE"),
)


def _check(result: int, what: str) -> None:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), what)


def mount(source: str, target: str, kind: str = "", flags: int = 0, data: str = "") -> None:
    """mount(2)."""
    words = (source.encode(), target.encode(), kind.encode())
    _check(_libc.mount(*words, ctypes.c_ulong(flags), data.encode()), target)


def detach(target: str) -> None:
    """umount2(2) with MNT_DETACH."""
    _check(_libc.umount2(target.encode(), MNT_DETACH), target)


def pivot_into(root: str) -> None:
    """Make ``root``, a mount point, the root of this mount namespace; the old one goes."""
    os.chdir(root)
    _check(_libc.syscall(_SYS_PIVOT_ROOT, b".", b"."), root)
    detach(".")
    os.chdir("/")


def unshare(flags: int) -> None:
    """unshare(2)."""
    _os.unshare(flags)


def fork_in_new_pid_namespace() -> int:
    """fork(2) of a child that is process 1 of a new pid namespace; later ones are not in it."""
    own = os.open("/proc/self/ns/pid", os.O_RDONLY | os.O_CLOEXEC)
    unshare(CLONE_NEWPID)
    pid = os.fork()
    if pid:
        _os.setns(own, CLONE_NEWPID)
    os.close(own)
    return pid


def enter(pidfd: int, flags: int) -> None:
    """setns(2) into several namespaces of one process."""
    _os.setns(pidfd, flags)


def no_new_privileges() -> None:
    """Execing a setuid program gains nothing from here on."""
    _check(_libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "no_new_privs")


def capability_mask(names: list[str]) -> int:
    """The bits of capabilities such as CAP_KILL; a name that is not known raises ValueError."""
    mask = 0
    for name in names:
        mask |= 1 << CAPABILITIES.index(name.removeprefix("CAP_"))
    return mask


def limit_bounding(mask: int) -> None:
    """Drop every capability that is not in ``mask`` for good."""
    for number in range(_LAST_CAPABILITY + 1):
        if not mask >> number & 1:
            _check(_libc.prctl(_PR_CAPBSET_DROP, number, 0, 0, 0), "capability bounding set")


def set_capabilities(effective: int, permitted: int, inheritable: int) -> None:
    """capset(2) for this process."""
    head = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    low = [mask & 0xFFFFFFFF for mask in (effective, permitted, inheritable)]
    high = [mask >> 32 for mask in (effective, permitted, inheritable)]
    data = (ctypes.c_uint32 * 6)(*low, *high)
    _check(_libc.syscall(_SYS_CAPSET, head, data), "capset")
