"""The recipe of the lab's disk image, carried out by ``python -m vlab.recipe FOLDER LOG [KATA]``.

``vlab.image`` starts this as root of namespaces of its own, shows what it prints, and takes the
folder for an image only if it ends well. mmdebstrap makes a tree, the stand-ins put themselves
in it, ``mke2fs -d`` makes an ext4 image of it. Nothing is mounted on the machine, and nothing is
emulated. The folder then holds all that a machine needs: disk, kernel, initrd, host key, and the
emulator.
"""

import errno
import hashlib
import shlex
import shutil
import signal
import sys
from pathlib import Path

from vlab import emulator, manifest, packages, sources
from vlab.build import Build
from vlab.errors import VlabError
from vlab.parts import cni
from vlab.parts import kata as real_kata
from vlab.standins import gpu, guest, kata, model, nvidia
from vlab.standins.nvidia import compiler

HERE = Path(__file__).parent
DISK_SIZE = "12G"  # sparse: it costs what is in it
JOURNAL = 16  # MiB; with it a lab survives that its power is cut (``vlab.reset``)
BYTES_PER_INODE = 65536  # mke2fs's usual four times as many would cost 150 MB of empty tables

# Before the kernel is installed, which makes the initrd by these settings.
INITRAMFS = 'mkdir -p "$1/etc/initramfs-tools" && cp -rT {} "$1/etc/initramfs-tools"'


def digest(kata: str = "") -> str:
    """Digest of everything in the repository that decides what is in the image, and of ``kata``.

    That is a release to be used in place of the stand-in; empty: none. Raises VlabError where it
    cannot be read.
    """
    total = hashlib.sha256(packages.architecture().machine.encode())
    files = [HERE / f"{name}.py" for name in ("build", "debs", "manifest", "packages", "recipe")]
    files += sorted(
        path
        for folder in ("emulator", "overlay", "parts", "standins")
        for path in (HERE / folder).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    )
    for path in files:
        total.update(f"{path.relative_to(HERE)} {path.stat().st_mode & 0o111}\n".encode())
        total.update(path.read_bytes())
    if kata:
        total.update(real_kata.digest(Path(kata).expanduser()).encode())
    return total.hexdigest()[:16]


def carry_out(build: Build, folder: Path) -> None:
    """Make the image in ``folder``. Raises VlabError."""
    if build.kata:
        with build.step(f"taking kata out of {build.kata}"):
            real_kata.take(build, build.kata)
    with build.step("fetching the model and its server"):
        _wheels(build)
    with build.step("installing the lab host's system"):
        _lab_host(build)
    with build.step("making the guest's tree"):
        guest.bootstrap(build)
    for name, install in (
        ("kata", real_kata.install) if build.kata else ("stand-in: kata", kata.install),
        ("stand-in: guest image", guest.install),
        ("stand-in: NVIDIA driver and toolkit", nvidia.install),
        ("stand-in: model image", model.install),
    ):
        with build.step(name):
            install(build)
    with build.step("CNI"):
        cni.install(build, build.work / compiler.FOLDER)
    with build.step("finishing the disk image"):
        _configure(build)
        emulator.install(build, build.work / compiler.FOLDER, folder / "emulator")
        shutil.rmtree(build.work / compiler.FOLDER)  # room is scarcest while the image is packed
        gpu.install(build, folder)
        _pack(build, folder)
    shutil.rmtree(build.work)
    manifest.write(folder)


def _wheels(build: Build) -> None:
    build.wheels.mkdir()
    wanted = build.work / "wheels.txt"
    lines = (f"{wheel} --hash=sha256:{digest}\n" for wheel, digest in packages.WHEELS)
    wanted.write_text("".join(lines), encoding="ascii")
    build.run(
        *(sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:"),
        *("--python-version", packages.PYTHON, "--platform", build.arch.wheels),
        *("--dest", build.wheels, "--require-hashes", "--requirement", wanted),
    )


def _lab_host(build: Build) -> None:
    hook = INITRAMFS.format(shlex.quote(str(HERE / "overlay/etc/initramfs-tools")))
    unused = (f"path-exclude=/usr/lib/modules/*/kernel/{at}/*" for at in packages.UNUSED_MODULES)
    build.mmdebstrap(
        build.root,
        variant="minbase",
        include=(build.arch.kernel, *packages.LAB_PACKAGES, *build.arch.packages),
        extra=(*(f"--dpkgopt={rule}" for rule in unused), f"--essential-hook={hook}"),
    )


def _configure(build: Build) -> None:
    """Make the tree a host that can be logged in to, and that waits for nothing while it boots."""
    shutil.copytree(HERE / "overlay", build.root, dirs_exist_ok=True, symlinks=True)
    (build.root / "etc/fstab").write_text("/dev/vda / ext4 rw,noatime 0 1\n")
    (build.root / "etc/hostname").write_text("vlab\n")
    (build.root / "etc/hosts").write_text("127.0.0.1 localhost vlab\n")
    (build.root / "etc/machine-id").write_text("uninitialized\n")
    build.chroot(
        build.root,
        *("systemctl", "enable", "systemd-networkd.service", "ssh.service"),
        *("containerd.service", "docker.service"),
    )
    build.chroot(
        build.root,
        *("systemctl", "mask", "apt-daily.timer", "apt-daily-upgrade.timer", "e2scrub_all.timer"),
        *("e2scrub_reap.service", "dpkg-db-backup.timer", "fstrim.timer", "getty@tty1.service"),
        *("systemd-networkd-wait-online.service", "man-db.timer", "dnf-makecache.timer"),
        *("systemd-firstboot.service", "systemd-timesyncd.service"),
    )


def _pack(build: Build, folder: Path) -> None:
    boot = build.root / "boot"
    (kernel,) = boot.glob("vmlinuz-*")
    (initrd,) = boot.glob("initrd.img-*")
    shutil.copy2(kernel, folder / "vmlinuz")
    shutil.move(initrd, folder / "initrd.img")
    shutil.copy2(build.root / "etc/ssh/ssh_host_ed25519_key.pub", folder / "host_key.pub")
    shutil.rmtree(build.root / "var/cache/apt", ignore_errors=True)
    build.run(
        *("mke2fs", "-q", "-t", "ext4", "-L", "lab", "-O", "^metadata_csum"),
        *("-J", f"size={JOURNAL}", "-E", "lazy_journal_init=1", "-m", "0"),
        *("-i", str(BYTES_PER_INODE), "-d", build.root, folder / "lab.img", DISK_SIZE),
    )
    (folder / "lab.img").chmod(0o600)  # it has the private half of the host key


def main(folder: Path, log: Path, kata: Path | None = None) -> int:
    """Carry it out; progress goes to standard output, the one sentence of a failure to error."""
    # The first process of a namespace gets only the signals that it has a handler for.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        build = Build(folder / "work", log, lambda text: print(text, flush=True), kata=kata)
        build.work.mkdir()
        carry_out(build, folder)
    except VlabError as error:
        print(error, file=sys.stderr)
        return 1
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise
        print(sources.full(folder.parent), file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(*(Path(word) for word in sys.argv[1:])))
