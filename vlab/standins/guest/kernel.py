"""The guest's kernel: its modules, the initrd that finds the root, and the headers tree."""

import lzma
import re
import shutil
from collections.abc import Iterable
from pathlib import Path

from vlab import debs
from vlab.build import Build
from vlab.errors import VlabError
from vlab.standins.guest import cpio

# What the guest can load; a name that the kernel has built in is not looked for. (Debian's cloud
# kernel has ext4, virtio_pci, virtiofs and FUSE built in, and no 9p at all.)
MODULES = (
    "ext4",
    "virtio_pci",
    "virtio_blk",
    "virtio_net",
    "virtiofs",
    "fuse",
    "vsock",
    "vmw_vsock_virtio_transport",
    "overlay",
    "crc32c_generic",
    "veth",
    "loop",
)
# What it takes to reach the root file system.
INITRD_MODULES = ("virtio_pci", "virtio_blk", "ext4")
# What kata's agent expects to be there, as it is in kata's kernels. It loads none itself.
AGENT_MODULES = ("vmw_vsock_virtio_transport", "virtio_net", "overlay")

# Headers that a driver for a PCI device does not come near; what is left is still a whole tree.
UNUSED_HEADERS = (
    *("include/config", "include/dt-bindings", "include/media", "include/sound", "include/rdma"),
    *("include/scsi", "include/target", "include/pcmcia", "include/soc", "include/ufs"),
    *("include/rv", "include/cxl", "include/math-emu", "include/memory", "include/misc"),
    *("include/drm", "include/kunit", "include/xen", "include/video"),
    *("include/linux/mfd", "include/linux/platform_data", "include/linux/iio"),
    *("include/linux/soc", "include/linux/mtd", "include/linux/sunrpc", "include/linux/spi"),
    *("include/linux/ceph", "include/linux/qed", "include/linux/mlx4", "include/linux/mlx5"),
    *("include/linux/greybus", "include/linux/fsl", "include/linux/can", "include/linux/bcma"),
    *("include/linux/comedi", "include/linux/soundwire", "include/linux/usb"),
    *("include/linux/ssb", "include/linux/lockd", "include/linux/mmc", "include/linux/dsa"),
    *("include/linux/regulator", "include/linux/input", "include/linux/power"),
    *("include/uapi/rdma", "include/uapi/drm", "include/uapi/sound", "include/uapi/scsi"),
    *("include/uapi/misc", "include/uapi/mtd", "include/uapi/xen", "include/uapi/video"),
)
KEPT_CONFIG = ("auto.conf", "kernel.release")  # the rest only says when to build anew


def fetch(build: Build) -> str:
    """Download and unpack the kernel's packages; return its release."""
    flavour = build.arch.flavour
    image = debs.meaning_of(build, f"linux-image-{flavour}")
    release = image.removeprefix("linux-image-")
    version = release.removesuffix(f"-{build.arch.flavour}")
    names = (
        image,
        f"linux-headers-{release}",
        f"linux-headers-{version}-common",
        f"linux-kbuild-{version}",
        "busybox-static",
    )
    folder = build.work / "kernel-debs"
    debs.fetch_alone(build, folder, *names)
    for name in names:
        debs.unpack(build, folder, name, _unpacked(build))
    return release


def install_modules(build: Build, release: str) -> None:
    """Put the modules that the guest needs into its tree, uncompressed: it loads them sooner."""
    folder = build.guest / "usr/lib/modules" / release
    shutil.copytree(_unpacked(build) / "usr/lib/modules" / release, folder, symlinks=True)
    build.chroot(build.guest, "depmod", release)
    kept = closure(folder, MODULES)
    for path in kept:
        (folder / path.removesuffix(".xz")).write_bytes(_module(folder / path))
    plain = {folder / path.removesuffix(".xz") for path in kept}
    for file in folder.glob("kernel/**/*.ko*"):
        if file not in plain:
            file.unlink()
    for empty in sorted(folder.glob("kernel/**/"), reverse=True):
        if not any(empty.iterdir()):
            empty.rmdir()
    for name in ("build", "source"):  # links to headers that the guest does not have
        (folder / name).unlink(missing_ok=True)
    build.chroot(build.guest, "depmod", release)


def closure(folder: Path, names: Iterable[str]) -> list[str]:
    """Files of some modules and of all that they need, in the order in which they load.

    Built-in ones are left out. Raises VlabError for a module that the kernel does not have.
    """
    built_in = {_name(line) for line in (folder / "modules.builtin").read_text().splitlines()}
    needs: dict[str, list[str]] = {}
    for line in (folder / "modules.dep").read_text().splitlines():
        path, _, wanted = line.partition(":")
        # modules.dep lists what a module needs with the farthest last.
        needs[_name(path)] = [*reversed(wanted.split()), path]
    found: dict[str, None] = {}
    for name in names:
        if name in built_in:
            continue
        if name not in needs:
            raise VlabError(f"the guest's kernel '{folder.name}' has no module '{name}'")
        found.update(dict.fromkeys(needs[name]))
    return list(found)


def install_boot(build: Build, release: str) -> None:
    """Put kernel and initrd where kata's configuration looks for them."""
    target = build.root / "usr/share/kata-containers"
    target.mkdir(parents=True, exist_ok=True)
    shutil.copy2(_unpacked(build) / "boot" / f"vmlinuz-{release}", target / "vmlinuz.container")
    (target / "vmlinuz.container.initrd").write_bytes(_initrd(build, release))


def _initrd(build: Build, release: str) -> bytes:
    tree = build.work / "initrd"
    for folder in ("bin", "dev", "lib", "proc", "sys", "root"):
        (tree / folder).mkdir(parents=True)
    shutil.copy2(_unpacked(build) / "usr/bin/busybox", tree / "bin/busybox")
    source = build.guest / "usr/lib/modules" / release
    names = INITRD_MODULES + (AGENT_MODULES if build.kata else ())
    for number, path in enumerate(closure(source, names)):
        (tree / "lib" / f"{number:02}-{_name(path)}.ko").write_bytes(_module(source / path))
    shutil.copy2(Path(__file__).parent / "init.sh", tree / "init")
    (tree / "init").chmod(0o755)
    return cpio.archive(tree, {"dev/console": (5, 1), "dev/null": (1, 3)})


def install_headers(build: Build, release: str) -> Path:
    """Merge Debian's split headers into one folder that builds modules wherever it is put."""
    target = build.root / "srv/lab/kernel"
    target.parent.mkdir(parents=True, exist_ok=True)
    version = release.removesuffix(f"-{build.arch.flavour}")
    sources = _unpacked(build) / "usr/src"
    common = sources / f"linux-headers-{version}-common"
    flavour = sources / f"linux-headers-{release}"
    kbuild = _unpacked(build) / "usr/lib" / f"linux-kbuild-{version}"
    unused = set(UNUSED_HEADERS)

    def ignore(folder: str, names: list[str]) -> set[str]:
        base = Path(folder)
        root = flavour if base.is_relative_to(flavour) else common
        where = base.relative_to(root)
        drop = {name for name in names if str(where / name) in unused}
        if where == Path():
            drop |= {"scripts", "tools", "vmlinux"}  # links out of the tree; BTF's input
        if where == Path("arch"):
            drop |= {name for name in names if name != build.arch.sources}
        return drop

    shutil.copytree(common, target, symlinks=True, ignore=ignore)
    makefile = (target / "Makefile").read_bytes()
    shutil.copytree(flavour, target, symlinks=True, ignore=ignore, dirs_exist_ok=True)
    # The flavour's Makefile only names the common one, by an absolute path.
    (target / "Makefile").write_bytes(makefile)
    (target / ".kernelvariables").unlink()
    (target / "include/config").mkdir()
    for name in KEPT_CONFIG:
        shutil.copy2(flavour / "include/config" / name, target / "include/config")
    for folder in ("scripts", "tools"):
        shutil.copytree(kbuild / folder, target / folder, symlinks=True)
    return target


def _unpacked(build: Build) -> Path:
    return build.work / "kernel"


def _name(path: str) -> str:
    return re.sub(r"\.ko(\.\w+)?$", "", Path(path).name).replace("-", "_")


def _module(path: Path) -> bytes:
    data = path.read_bytes()
    return lzma.decompress(data) if path.suffix == ".xz" else data
