"""kata itself: shim, kata-runtime, agent and configuration of a release, in place of the stand-in.

Whoever wants it brings the release's archive (``kata-static-VERSION-amd64.tar.xz``, of
https://github.com/kata-containers/kata-containers/releases), or the folder /opt/kata of one that
was unpacked. The rest is the lab's: QEMU, virtiofsd and containerd are Debian's, the guest's tree
is the stand-in's, with the agent of the release's image as its init. So is the guest's kernel: a
release's has no modules (tools/packaging/kernel/configs), and no driver would load into it.
"""

import hashlib
import lzma
import posixpath
import re
import shutil
import tarfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from vlab import manifest
from vlab.build import Build
from vlab.errors import VlabError

TRIED = ("3.15.0",)
PREFIX = "opt/kata"  # of everything in the archive
PROGRAMS = ("bin/containerd-shim-kata-v2", "bin/kata-runtime")
CONFIGURATION = "share/defaults/kata-containers/configuration-qemu.toml"
IMAGE = "share/kata-containers/kata-containers.img"  # a link
VERSION = "VERSION"
PIECES = (*PROGRAMS, CONFIGURATION, IMAGE, VERSION)

# Within the release's guest image; the policy is where the agent was built with one.
AGENT = "/usr/bin/kata-agent"
POLICY = "/etc/kata-opa"

# Where the release has its own parts, the lab's stand: its configuration keeps these paths.
LINKS = {
    "libexec/virtiofsd": "/usr/libexec/virtiofsd",
    "share/kata-containers/vmlinux.container": "/usr/share/kata-containers/vmlinuz.container",
    IMAGE: "/srv/lab/rootfs.img",
}
# kata boots an image or an initrd, and Debian's kernel needs both. One processor: see _pin in
# vlab/standins/kata/runtime/machine.py.
QEMU = """\
#!/bin/sh
exec taskset --cpu-list $(($(nproc) - 1)) /usr/bin/{emulator} "$@" \\
    -initrd /usr/share/kata-containers/vmlinuz.container.initrd
"""
# What a nested machine under emulation wants otherwise than the release has it.
CHANGED = {
    "kernel_params": '"cgroup_no_v1=all systemd.unified_cgroup_hierarchy=1 '
    'mitigations=off init_on_alloc=0 randomize_kstack_offset=off"',
    "default_maxvcpus": "1",
    "enable_hugepages": "true",  # docs/performance.md
    "disable_image_nvdimm": "true",  # the lab's image has no header for it
    "block_device_aio": '"threads"',
    "static_sandbox_resource_mgmt": "true",  # nothing is plugged into a running machine
    # The agent was up 52 to 195 s after its machine; the run's own budget ends the wait before.
    "dial_timeout": "1500",
    "create_container_timeout": "1500",
}
MACHINES = {62: "x86_64", 183: "aarch64", 22: "s390x", 21: "ppc64le"}  # e_machine, elf(5)

_TAKEN = "kata"  # in the build's folder
_MOST_LINKS = 8
_SECTOR = 512
_MAGIC_AT, _MAGIC = 1080, b"\x53\xef"  # of ext4 (Documentation/filesystems/ext4/super.rst)

Reader = Callable[[str], IO[bytes] | None]


def digest(release: Path) -> str:
    """Digest of a release, or of what is taken from its folder. Raises VlabError: unreadable."""
    parts = [release]
    if release.is_dir():
        parts = [release / name for name in PIECES if (release / name).is_file()]
    try:
        total = "".join(manifest.digest(path) for path in parts)
    except OSError as error:
        raise VlabError(
            f"kata's release {release} cannot be read ({error.strerror}): name its archive or an "
            "unpacked /opt/kata (--kata, or vlab.kata in the profile)"
        ) from error
    return hashlib.sha256(total.encode()).hexdigest()


def take(build: Build, release: Path) -> None:
    """Copy what is wanted out of a release into the build's folder, and look at it.

    Raises VlabError for what is no release, not all of one, or one for another architecture.
    """
    taken = build.work / _TAKEN
    try:
        with _opened(release) as read:
            for name in PIECES:
                if (piece := read(name)) is None:
                    raise _lacking(release, f"{PREFIX}/{name}")
                (taken / name).parent.mkdir(parents=True, exist_ok=True)
                with piece, (taken / name).open("wb") as file:
                    shutil.copyfileobj(piece, file)
    except (tarfile.TarError, lzma.LZMAError, zlib.error, EOFError) as error:
        raise VlabError(
            f"kata's release {release} is no tar archive, or not all of one ({_line(error)}): "
            "fetch kata-static-VERSION-amd64.tar.xz anew"
        ) from error
    if not _take_agent(build, taken):
        raise _lacking(release, f"{AGENT} in an ext4 file system of its guest image ({IMAGE})")
    for name in (*PROGRAMS, "kata-agent"):
        if (found := _machine(taken / name)) != f"for {build.arch.machine}":
            raise VlabError(
                f"{Path(name).name} in kata's release {release} is {found}, and the lab wants "
                f"{build.arch.machine}: take kata-static-VERSION-{build.arch.deb}.tar.xz"
            )
    configured(_text(taken / CONFIGURATION))
    version = _text(taken / VERSION).strip()
    if version not in TRIED:
        build.say(f"vlab: kata {version} has not been tried in the lab ({', '.join(TRIED)} has)")


def install(build: Build) -> None:
    """Put what was taken into the lab's tree, and the agent into the guest's."""
    taken, home = build.work / _TAKEN, build.root / PREFIX
    for name in PROGRAMS:
        _program(taken / name, home / name)
        _link(build.root / "usr/local" / name, f"/{PREFIX}/{name}")
    for name, target in LINKS.items():
        _link(home / name, target)
    (home / "bin" / build.arch.emulator).write_text(QEMU.format(emulator=build.arch.emulator))
    (home / "bin" / build.arch.emulator).chmod(0o755)
    settings = build.root / "etc/kata-containers/configuration.toml"
    settings.parent.mkdir(parents=True, exist_ok=True)
    settings.write_text(configured(_text(taken / CONFIGURATION)), encoding="utf-8")
    _program(taken / "kata-agent", build.guest / AGENT.lstrip("/"))
    _link(build.guest / "usr/sbin/init", AGENT)  # an agent with process id 1 mounts for itself
    if (policy := taken / Path(POLICY).name).is_dir():
        shutil.copytree(policy, build.guest / POLICY.lstrip("/"), symlinks=True)
    shutil.rmtree(taken)


def configured(text: str) -> str:
    """A release's configuration as the lab wants it. Raises VlabError where a key is missing."""
    for key, value in CHANGED.items():
        text, found = re.subn(rf"(?m)^#? ?{key} *=.*$", f"{key} = {value}", text)
        if found != 1:
            raise VlabError(
                f"kata's {Path(CONFIGURATION).name} has '{key}' {found} times, and not once: the "
                f"lab knows kata {', '.join(TRIED)}"
            )
    return text


@contextmanager
def _opened(release: Path) -> Iterator[Reader]:
    """What opens the files of a release by their names below /opt/kata; None for no file.

    Nothing is unpacked under a name of the archive's, and its links are followed within it.
    """
    if release.is_dir():
        yield lambda name: (release / name).open("rb") if (release / name).is_file() else None
        return
    with tarfile.open(release) as archive:
        members = {posixpath.normpath(member.name): member for member in archive}

        def read(name: str) -> IO[bytes] | None:
            member = _followed(members, f"{PREFIX}/{name}")
            return archive.extractfile(member) if member else None

        yield read


def _followed(members: dict[str, tarfile.TarInfo], name: str) -> tarfile.TarInfo | None:
    """The file of this name, or that its links lead to."""
    for _ in range(_MOST_LINKS):
        member = members.get(name)
        if member is None or member.isfile():
            return member
        at = posixpath.dirname(name) if member.issym() else ""
        name = posixpath.normpath(posixpath.join(at, member.linkname)).lstrip("/")
    return None


def _take_agent(build: Build, taken: Path) -> bool:
    """Read the agent, and its policy, out of the image, whose root is its first partition."""
    with (taken / IMAGE).open("rb") as image:
        record = image.read(_SECTOR)
        partitioned = record[510:] == b"\x55\xaa"
        start = int.from_bytes(record[454:458], "little") * _SECTOR if partitioned else 0
        image.seek(start + _MAGIC_AT)
        readable = image.read(len(_MAGIC)) == _MAGIC
    for request in (f"dump {AGENT} kata-agent", f"rdump {POLICY} .") if readable else ():
        build.run("debugfs", "-R", request, f"{IMAGE}?offset={start}", cwd=taken)
    (taken / IMAGE).unlink()  # room is scarce while an image is built
    return (taken / "kata-agent").exists()


def _lacking(release: Path, what: str) -> VlabError:
    return VlabError(
        f"kata's release {release} has no {what}: it is none, or not all of one; take "
        "kata-static-VERSION-amd64.tar.xz as it is published, or all of the /opt/kata in it"
    )


def _line(error: Exception) -> str:
    """Its first line: tarfile adds what each of its readers says."""
    return str(error).partition("\n")[0].rstrip(":")


def _machine(program: Path) -> str:
    """The architecture that a program is for, in uname's word."""
    with program.open("rb") as file:
        head = file.read(20)
    if head[:4] != b"\x7fELF":
        return "no program"
    number = int.from_bytes(head[18:20], "little" if head[5] == 1 else "big")
    return f"for {MACHINES.get(number, f'machine {number}')}"


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace")


def _program(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
    target.chmod(0o755)


def _link(path: Path, target: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(target)
