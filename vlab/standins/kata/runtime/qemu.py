"""QEMU's command line for a container's machine, as kata lays it out.

The root image is attached read-only, as kata mounts it: containers write to the folder that they
share with the host, hooks to the guest's tmpfs.
"""

import os
from collections.abc import Sequence
from typing import NamedTuple

from ..wire import SHARED_TAG
from .config import Config, ConfigError
from .release import Release
from .vfio import Device

_EXT4_MAGIC = b"\x53\xef"
_EXT4_MAGIC_AT = 1080
_ROOM = 1024  # MiB above the host's memory that kata lets a machine grow to
AGENT = "/usr/bin/kata-agent"
# kata's own for x86-64: with them the kernel looks for no keyboard and tests no cipher.
_KERNEL_PARAMS = (
    *("tsc=reliable", "no_timer_check", "rcupdate.rcu_expedited=1", "i8042.direct=1"),
    *("i8042.dumbkbd=1", "i8042.nopnp=1", "i8042.noaux=1", "noreplace-smp", "reboot=k"),
    *("cryptomgr.notests", "net.ifnames=0", "panic=1", "console=hvc0"),
)


class Card(NamedTuple):
    """A network card: the tap on the host's side, the MAC on the guest's."""

    tap: str
    mac: str


class Plan(NamedTuple):
    """What one machine is made of. ``shared`` is the socket of its virtiofsd."""

    name: str
    cid: int
    shared: str
    devices: Sequence[Device]
    cards: Sequence[Card]
    kvm: bool
    vhost_net: bool
    release: Release


def command(config: Config, plan: Plan) -> list[str]:
    """The whole command line; ConfigError for what kata refuses here, and ``env`` does not."""
    if config.initrd:
        raise ConfigError("Image and initrd path cannot be both set")
    memory = f"{config.default_memory}M"
    return [
        config.path,
        *("-name", f"sandbox-{plan.name}{',debug-threads=on' if plan.release.newer else ''}"),
        *("-nodefaults", "-display", "none"),
        *("-machine", f"{config.machine_type},accel={'kvm' if plan.kvm else 'tcg'}"),
        *("-cpu", "host" if plan.kvm else "max", "-smp", str(config.default_vcpus)),
        *("-m", f"{memory},slots=10,maxmem={_host_memory() + _ROOM}M"),
        # virtiofsd reads and writes the guest's memory itself: it has to be shared with it.
        *("-object", f"{_backend(config)},id=dimm1,size={memory},share=on"),
        *("-numa", "node,memdev=dimm1"),
        *("-kernel", config.kernel, *(("-initrd", config.modules) if config.modules else ())),
        *("-append", kernel_command_line(config)),
        *("-drive", f"id=image,file={config.image},if=none,format=raw,readonly=on"),
        *("-device", "virtio-blk-pci,drive=image,disable-modern=false"),
        *("-device", f"vhost-vsock-pci,id=vsock,guest-cid={plan.cid}"),
        *("-chardev", f"socket,id=fs,path={plan.shared}"),
        *("-device", f"vhost-user-fs-pci,chardev=fs,tag={SHARED_TAG}"),
        *("-device", "virtio-rng-pci"),
        *_cards(plan),
        *_devices(plan),
        # A virtio console, as kata's: a serial port costs an exit of the machine for each byte.
        *("-chardev", "stdio,id=console,signal=off"),
        *("-device", "virtio-serial-pci", "-device", "virtconsole,chardev=console"),
        "-no-reboot",
    ]


def _backend(config: Config) -> str:
    """What the memory is taken from. Huge pages as kata takes them: all of them at once."""
    if config.enable_hugepages:
        return "memory-backend-file,mem-path=/dev/hugepages,prealloc=on"
    return "memory-backend-memfd"


def _cards(plan: Plan) -> list[str]:
    words = []
    vhost = "on" if plan.vhost_net else "off"
    for number, card in enumerate(plan.cards):
        net = f"network-{number}"
        tap = f"tap,id={net},ifname={card.tap},script=no,downscript=no,vhost={vhost}"
        words += ["-netdev", tap, "-device", f"virtio-net-pci,netdev={net},mac={card.mac}"]
    return words


def _host_memory() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") >> 20


def _devices(plan: Plan) -> list[str]:
    """A root port for each PCI Express function; the first function of each group, and no other.

    As virtcontainers does: VFIODevice.Attach counts all of a group, Sandbox.AppendDevice returns
    after its first.
    """
    express = [device for device in plan.devices if device.express]
    words = []
    for number in range(len(express)):
        words += ["-device", f"pcie-root-port,id=rp{number},bus=pcie.0,chassis=0,slot={number}"]
    first = {device.group: device for device in reversed(plan.devices)}
    for device in [device for device in plan.devices if first[device.group] is device]:
        options = ["vfio-pci", f"host={device.address}"]
        if plan.release.newer:
            options += [f"x-pci-vendor-id={device.vendor}", f"x-pci-device-id={device.device}"]
        if device.express:
            options.append(f"bus=rp{express.index(device)}")
        words += ["-device", ",".join(options)]
    return words


def kernel_command_line(config: Config) -> str:
    """Root on the image (its first partition where it has some), the agent as init."""
    quiet = "systemd.show_status=true" if config.hypervisor_debug else "quiet"
    log = "agent.log=debug" if config.agent_debug else ""
    root = f"root={root_device(config.image)} ro rootfstype=ext4 init={AGENT}"
    return " ".join(filter(None, (*_KERNEL_PARAMS, root, quiet, log, config.kernel_params)))


def root_device(image: str) -> str:
    """``/dev/vda`` for a bare ext4 image, ``/dev/vda1`` for a partitioned one."""
    with open(image, "rb") as file:
        file.seek(_EXT4_MAGIC_AT)
        return "/dev/vda" if file.read(2) == _EXT4_MAGIC else "/dev/vda1"


def kvm_works() -> bool:
    """Whether KVM makes a machine. The node alone says nothing, it may have no driver behind it."""
    import fcntl

    create_vm = 0xAE01
    try:
        kvm = os.open("/dev/kvm", os.O_RDWR)
    except OSError:
        return False
    try:
        os.close(fcntl.ioctl(kvm, create_vm, 0))
    except OSError:
        return False
    finally:
        os.close(kvm)
    return True
