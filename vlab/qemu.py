"""The hardware of the lab's machine, as QEMU's command line.

Recipe (q35): an emulated Intel IOMMU with interrupt remapping, caching mode and device IOTLB, so
that VFIO in the lab works as on hardware; a PCI Express function behind a root port for each GPU
(``vlab.standins.gpu``: virtio-serial, whose port is a socket of the process that computes; it does
DMA through the IOMMU, has MSI-X and can be reset); user-mode network with nothing but a forwarded
ssh port, so that a lab can reach nobody.

A multifunction GPU is what a graphics card is: function 1 is an audio device (class 0403, as
NVIDIA's), which the lab's kernel gives to snd_hda_intel. The root port is then Intel's of 2008
(ioh3420), to which QEMU has given no ACS, so that all three share one IOMMU group, and nothing of
it can be passed through alone.
"""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vlab import qmp
from vlab.image import Image

# TCG carries out 'rep stosb' and 'rep movsb' a byte at a time: with these features left out, the
# kernel clears and copies memory by words, and a nested machine boots in half of the time.
TCG_CPU = "max,erms=off,fsrm=off,fzrm=off,fsrs=off,fsrc=off"

# What protects a kernel from others on its processor, and itself from its own mistakes, is emulated
# instruction by instruction; a lab is a throw-away with nobody else in it. (no_timer_check: that
# test compares two clocks, and on a busy computer a boot was seen to hang in it.)
BARE = "mitigations=off init_on_alloc=0 randomize_kstack_offset=off no_timer_check"

GPU_SLOT = 0x10  # first PCI slot of the root ports with the stand-in GPUs behind them
GPUS = range(5)  # how many there can be
GPU_ID = "1af4:1043"  # vendor and device, as lspci -n prints them
GPU_CLASS = "0380"  # a display controller

CONSOLE = "console.log"


@dataclass(frozen=True)
class Settings:
    """The machine's hardware, and what is in it. Memory in MiB.

    ``kata`` is a release of kata in place of the stand-in: an archive or a folder of this computer.
    ``kata_release`` is the one that the stand-in behaves as.
    """

    gpus: int = 1
    kata_release: str = "CC-0.8.0"
    memory: int = 5120
    cpus: int = 2
    accel: str = "auto"
    multifunction: bool = False
    kata: str = ""


def command_line(
    image: Image, settings: Settings, mode: str, folder: Path, port: int, sockets: Sequence[int]
) -> list[str]:
    """QEMU's command line for this machine; it is to be started in the machine's folder.

    ``sockets`` are descriptors that it inherits, one to the process of each GPU.
    """
    public = (folder / "key.pub").read_bytes()
    credential = base64.b64encode(public).decode()
    return [
        *board(image, settings.cpus, settings.memory, mode),
        *("-name", folder.name),
        *("-kernel", str(image.kernel), "-initrd", str(image.initrd)),
        *(
            "-append",
            "root=/dev/vda rw console=ttyS0 intel_iommu=on audit=0 panic=-1 quiet loglevel=4 "
            f"standin.kata={settings.kata_release} {BARE}",
        ),
        *("-drive", f"if=virtio,file={folder / 'disk.qcow2'},format=qcow2,cache=unsafe"),
        *network(port),
        *("-device", "virtio-net-pci,netdev=net"),
        *("-device", "virtio-rng-pci"),
        # Another one in each lab, so that a kernel which goes on from a saved state begins its
        # random numbers anew (drivers/virt/vmgenid.c).
        *("-device", "vmgenid,guid=auto"),
        *("-serial", f"file:{folder / CONSOLE}"),
        *monitor(),
        *(
            "-smbios",
            f"type=11,value=io.systemd.credential.binary:ssh.authorized_keys.root={credential}",
        ),
        *("-no-reboot", *gpus(settings, sockets)),
    ]


def board(image: Image, cpus: int, memory: int, mode: str) -> list[str]:
    """Processors, memory and IOMMU: what an accelerator has to get along with."""
    return [
        *image.emulator("qemu-system-x86_64"),
        *("-L", str(image.firmware), "-nodefaults", "-display", "none"),
        *("-M", "q35,kernel-irqchip=split", "-m", str(memory), "-smp", str(cpus)),
        *(("-accel", "kvm") if mode == "kvm" else ("-accel", "tcg,thread=multi")),
        *("-cpu", "host" if mode == "kvm" else TCG_CPU),
        *("-device", "intel-iommu,intremap=on,caching-mode=on,device-iotlb=on"),
    ]


def network(port: int) -> list[str]:
    """A network that reaches nobody, with the lab's ssh port at ``port`` of loopback."""
    return ["-netdev", f"user,id=net,restrict=on,hostfwd=tcp:127.0.0.1:{port}-:22"]


def monitor() -> list[str]:
    """A monitor (QMP) on a socket in the machine's folder."""
    return [
        *("-chardev", f"socket,id=qmp,path={qmp.SOCKET},server=on,wait=off"),
        *("-object", "monitor-qmp,id=monitor,chardev=qmp"),
    ]


def gpus(settings: Settings, sockets: Sequence[int]) -> list[str]:
    """The stand-in GPUs, each with the descriptor of its process's socket."""
    words: list[str] = []
    for number, descriptor in enumerate(sockets):
        port, gpu = f"port{number}", f"gpu{number}"
        words += [
            "-device",
            f"{'ioh3420' if settings.multifunction else 'pcie-root-port'},id={port},"
            f"chassis={number},addr={GPU_SLOT + number:#x}",
            *("-chardev", f"socket,id={gpu},fd={descriptor}"),
            "-device",
            f"virtio-serial-pci,id={gpu},bus={port},addr=0.0,class=0x{GPU_CLASS},vectors=6,"
            "max_ports=2,disable-legacy=on,iommu_platform=on"
            + (",multifunction=on" if settings.multifunction else ""),
            *("-device", f"virtserialport,bus={gpu}.0,nr=1,chardev={gpu},name={gpu}"),
        ]
        if settings.multifunction:
            audio = f"audio{number}"
            words += [
                *("-device", f"ich9-intel-hda,id={audio},bus={port},addr=0.1"),
                *("-audiodev", f"none,id=none{number}"),
                *("-device", f"hda-output,bus={audio}.0,audiodev=none{number}"),
            ]
    return words
