"""Build the lab's disk image once, and keep it under the digest of its recipe.

The cache folder of an image holds all that a machine needs: disk, kernel, initrd, the emulator
(taken from the image's own packages, so that every host runs the same QEMU whatever it has
installed) and the host key. Recipe: mmdebstrap a tree, let the stand-ins put themselves in it,
make an ext4 image of it with ``mke2fs -d``. Nothing is mounted and nothing is emulated.
"""

import fcntl
import hashlib
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from vlab import packages
from vlab.build import SUITE, Build
from vlab.errors import VlabError
from vlab.standins import cni, guest, kata, model, nvidia

HERE = Path(__file__).parent
DISK_SIZE = "12G"  # sparse: it costs what is in it


@dataclass(frozen=True)
class Image:
    """A finished image in the cache."""

    folder: Path

    @property
    def disk(self) -> Path:
        return self.folder / "lab.img"

    @property
    def kernel(self) -> Path:
        return self.folder / "vmlinuz"

    @property
    def initrd(self) -> Path:
        return self.folder / "initrd.img"

    @property
    def host_key(self) -> str:
        """The ssh host key's public half, as a known_hosts line wants it."""
        return (self.folder / "host_key.pub").read_text(encoding="ascii").strip()

    def emulator(self, program: str) -> list[str]:
        """The command line that starts a QEMU program out of the image's own packages."""
        emulator = self.folder / "emulator"
        return [
            str(emulator / "ld.so"),
            "--library-path",
            str(emulator / "lib"),
            str(emulator / "bin" / program),
        ]

    @property
    def firmware(self) -> Path:
        return self.folder / "emulator" / "firmware"


def cache_root() -> Path:
    """Where images and machines are kept; VLAB_CACHE moves it."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(os.environ.get("VLAB_CACHE") or Path(base) / "passthrough-acceptance" / "vlab")


def recipe_digest() -> str:
    """Digest of everything in the repository that decides what is in the image."""
    digest = hashlib.sha256(f"{SUITE} {DISK_SIZE}".encode())
    sources = [HERE / name for name in ("build.py", "image.py", "packages.py")]
    sources += sorted(
        path
        for folder in ("overlay", "standins")
        for path in (HERE / folder).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    )
    for path in sources:
        digest.update(f"{path.relative_to(HERE)} {path.stat().st_mode & 0o111}\n".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def ensure(say: Callable[[str], None]) -> Image:
    """The image of this recipe, built now if it is not in the cache.

    An image appears under its name by one rename when it is whole, so an interrupted build leaves
    nothing that could be taken for one. A second builder waits for the first. Raises VlabError.
    """
    folder = cache_root() / recipe_digest()
    folder.parent.mkdir(parents=True, exist_ok=True)
    with _building(folder, say):
        if folder.is_dir():
            return Image(folder)
        if os.geteuid() != 0:
            raise VlabError("building the lab image needs root, once: sudo python3 -m vlab build")
        partial = folder.with_name(f"{folder.name}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        build = Build(partial / "work", folder.with_name(f"{folder.name}.log"), say)
        build.log.unlink(missing_ok=True)
        build.work.mkdir()
        say(f"vlab: building the lab image, once (log: {build.log})")
        try:
            _build(build, partial)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise
        shutil.rmtree(build.work)
        partial.rename(folder)
    return Image(folder)


@contextmanager
def _building(folder: Path, say: Callable[[str], None]) -> Iterator[None]:
    with folder.with_name(f"{folder.name}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("vlab: another process is building this image; waiting for it ...")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _build(build: Build, folder: Path) -> None:
    with build.step("fetching the model and its server"):
        _wheels(build)
    with build.step("installing the lab host's system"):
        build.mmdebstrap(build.root, variant="minbase", include=packages.LAB_PACKAGES)
    with build.step("making the guest's tree"):
        guest.bootstrap(build)
    for name, install in (
        ("kata", kata.install),
        ("guest image", guest.install),
        ("NVIDIA driver and toolkit", nvidia.install),
        ("cnitool", cni.install),
        ("model image", model.install),
    ):
        with build.step(f"stand-in: {name}"):
            install(build)
    with build.step("finishing the disk image"):
        _configure(build)
        _emulator(build, folder)
        _pack(build, folder)


def _wheels(build: Build) -> None:
    build.wheels.mkdir()
    for name, version in packages.WHEELS:
        build.run(
            *(sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:"),
            *("--python-version", packages.PYTHON, "--platform", packages.PLATFORM),
            *("--dest", build.wheels, f"{name}=={version}"),
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


def _emulator(build: Build, folder: Path) -> None:
    """Take QEMU and exactly the libraries that it loads out of the tree."""
    target = folder / "emulator"
    for name in ("bin", "lib", "firmware"):
        (target / name).mkdir(parents=True)
    for program in ("qemu-system-x86_64", "qemu-img"):
        shutil.copy2(build.root / "usr/bin" / program, target / "bin")
        listing = build.chroot(
            build.root, "/lib64/ld-linux-x86-64.so.2", "--list", f"/usr/bin/{program}"
        )
        for line in listing.splitlines():
            _, arrow, rest = line.partition("=> /")
            if arrow:
                library = Path(rest.split(" (")[0])
                source = (build.root / library).resolve()
                shutil.copy2(source, target / "lib" / library.name)
    shutil.copy2((build.root / "lib64/ld-linux-x86-64.so.2").resolve(), target / "ld.so")
    for share in ("qemu", "seabios"):
        shutil.copytree(
            build.root / "usr/share" / share,
            target / "firmware",
            dirs_exist_ok=True,
            ignore_dangling_symlinks=True,
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
        *("mke2fs", "-q", "-t", "ext4", "-L", "lab", "-O", "^has_journal,^metadata_csum"),
        *("-m", "0", "-d", build.root, folder / "lab.img", DISK_SIZE),
    )
