"""The question to VFIO: its numbers are the header's, and what a kernel answers is understood."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fixtures.gpu import vfio_program as program
from fixtures.gpu.vfio_answer import PROGRAM, ask
from harness.host.host import Host, open_local

# Of include/uapi/linux/vfio.h (6.1 and 6.12): name, in our program, its value there.
NUMBERS = {
    "VFIO_CHECK_EXTENSION": (program.CHECK_EXTENSION, 0x3B65),
    "VFIO_SET_IOMMU": (program.SET_IOMMU, 0x3B66),
    "VFIO_GROUP_GET_STATUS": (program.GROUP_STATUS, 0x3B67),
    "VFIO_GROUP_SET_CONTAINER": (program.SET_CONTAINER, 0x3B68),
    "VFIO_GROUP_GET_DEVICE_FD": (program.GET_DEVICE, 0x3B6A),
    "VFIO_DEVICE_GET_INFO": (program.DEVICE_INFO, 0x3B6B),
    "VFIO_DEVICE_GET_REGION_INFO": (program.REGION_INFO, 0x3B6C),
    "VFIO_DEVICE_GET_IRQ_INFO": (program.IRQ_INFO, 0x3B6D),
    "VFIO_DEVICE_RESET": (program.RESET, 0x3B6F),
    "VFIO_IOMMU_GET_INFO": (program.IOMMU_INFO, 0x3B70),
    "VFIO_IOMMU_MAP_DMA": (program.MAP_DMA, 0x3B71),
    "VFIO_IOMMU_UNMAP_DMA": (program.UNMAP_DMA, 0x3B72),
    "VFIO_TYPE1v2_IOMMU": (program.TYPE1V2, 3),
    "VFIO_GROUP_FLAGS_VIABLE": (program.VIABLE, 1),
    "VFIO_DEVICE_FLAGS_RESET": (program.CAN_RESET, 1),
    "VFIO_REGION_INFO_FLAG_MMAP": (program.CAN_MAP, 4),
    "VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE": (program.READ_WRITE, 3),
    "VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE": (program.IOVA_RANGE, 1),
    "VFIO_PCI_BAR0_REGION_INDEX": (program.REGIONS.index("BAR 0"), 0),
    "VFIO_PCI_ROM_REGION_INDEX": (program.REGIONS.index("ROM"), 6),
    "VFIO_PCI_CONFIG_REGION_INDEX": (program.REGIONS.index("configuration"), 7),
    "VFIO_PCI_MSI_IRQ_INDEX": (program.INTERRUPTS.index("MSI"), 1),
    "VFIO_PCI_MSIX_IRQ_INDEX": (program.INTERRUPTS.index("MSI-X"), 2),
}
SIZES = {
    "struct vfio_group_status": (program.STATUS, 8),
    "struct vfio_region_info": (program.REGION, 32),
    "struct vfio_irq_info": (program.IRQ, 16),
    "struct vfio_iommu_type1_info": (program.IOMMU, 24),
    "struct vfio_iommu_type1_dma_map": (program.MAP, 32),
    "struct vfio_iommu_type1_dma_unmap": (program.UNMAP, 24),
    "struct vfio_info_cap_header": (program.CAPABILITY, 8),
}


def test_numbers_and_sizes_are_those_of_the_kernels_header() -> None:
    assert {name: ours for name, (ours, _) in NUMBERS.items()} == {
        name: theirs for name, (_, theirs) in NUMBERS.items()
    }
    assert {name: struct.calcsize(form) for name, (form, _) in SIZES.items()} == {
        name: size for name, (_, size) in SIZES.items()
    }


HEADER = Path("/usr/include/linux/vfio.h")


@pytest.mark.skipif(
    not HEADER.exists() or shutil.which("cc") is None, reason="no header, or no compiler"
)
def test_this_machines_header_has_the_same(tmp_path: Path) -> None:
    wanted = [*NUMBERS, *(f"sizeof({name})" for name in SIZES)]
    source = "".join(f'printf("%lld\\n", (long long)({name}));' for name in wanted)
    (tmp_path / "a.c").write_text(
        f"#include <stdio.h>\n#include <linux/vfio.h>\nint main(void) {{ {source} return 0; }}\n"
    )
    subprocess.run(["cc", "-o", tmp_path / "a", tmp_path / "a.c"], check=True)
    said = subprocess.run([tmp_path / "a"], check=True, capture_output=True, text=True).stdout
    theirs = [*(value for _, value in NUMBERS.values()), *(size for _, size in SIZES.values())]
    assert [int(line) for line in said.split()] == theirs


NODE, BDF = "/dev/vfio/6", "0000:01:00.0"
MIB = 1 << 20
RANGES = [[0, 0xFEDFFFFF], [0xFEF00000, (1 << 39) - 1]]


class Kernel:
    """Answers to the ioctls as vfio-pci and the type 1 IOMMU driver do; `refuses` are errnos."""

    def __init__(self, **refuses: int) -> None:
        self.refuses = refuses
        self.viable = True
        self.ids = ["1af41043", "1af41043"]
        self.mapped: dict[int, int] = {}
        self.files: dict[int, str] = {}

    def open(self, path: str, flags: int) -> int:
        self._refuse(path)
        self.files[len(self.files) + 100] = path
        return len(self.files) + 99

    def identity(self, bdf: str) -> str:
        return self.ids.pop(0)

    def ioctl(self, fd: int, request: int, given: Any = 0) -> int:
        names = {value: name for name, value in vars(program).items() if name.isupper()}
        name = {program.CHECK_EXTENSION: "CHECK"}.get(request) or names[request]
        self._refuse(name)
        answer = getattr(self, name.lower(), None)
        return int(answer(given) or 0) if answer else 0

    def _refuse(self, what: str) -> None:
        if code := self.refuses.get(what):
            raise OSError(code, os.strerror(code))

    def group_status(self, data: bytearray) -> None:
        struct.pack_into("II", data, 0, 8, int(self.viable))

    def set_container(self, data: bytes) -> None:
        assert self.files[struct.unpack("i", data)[0]] == program.CONTAINER

    def set_iommu(self, kind: int) -> None:
        assert kind == 3

    def get_device(self, name: bytearray) -> int:
        assert name == BDF.encode() + b"\0"
        return 7

    def device_info(self, data: bytearray) -> None:
        struct.pack_into("IIIII", data, 0, 20, 0b11, 9, 5, 0)

    def region_info(self, data: bytearray) -> None:
        size, flags = {1: (MIB, 7), 7: (4096, 3), 8: (0, 0)}.get(data[8], (0, 0))
        struct.pack_into("IIIIQQ", data, 0, 32, flags, data[8], 0, size, 0)

    def irq_info(self, data: bytearray) -> None:
        struct.pack_into("IIII", data, 0, 16, 1, data[8], (1, 0, 6)[data[8]])

    def iommu_info(self, data: bytearray) -> None:
        ranges = b"".join(struct.pack("QQ", *one) for one in RANGES)
        whole = struct.pack("IIQI4x", 24 + 12 + 4 + 16 + len(ranges), 3, 0x1000, 24)
        whole += struct.pack("HHII4x", 3, 1, 40, 65535)  # VFIO_IOMMU_TYPE1_INFO_DMA_AVAIL
        whole += struct.pack("HHIII", 1, 1, 0, len(RANGES), 0) + ranges
        if len(data) < len(whole):
            whole = struct.pack("IIQI4x", len(whole), 3, 0x1000, 0)
        data[: len(whole)] = whole

    def map_dma(self, data: bytearray) -> None:
        _, flags, address, iova, size = struct.unpack("IIQQQ", data)
        assert flags == 3
        assert address % 4096 == 0
        self.mapped[iova] = size

    def unmap_dma(self, data: bytearray) -> None:
        _, _, iova, size = struct.unpack("IIQQ", data)
        struct.pack_into("IIQQ", data, 0, 24, 0, iova, self.mapped.pop(iova, 0) and size)


Asked = Callable[[Kernel], dict[str, Any]]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Asked:
    """What the program prints where a kernel is this one; the guest will have 5 MiB and a half."""

    def run(kernel: Kernel) -> dict[str, Any]:
        monkeypatch.setattr(program, "PIECE", MIB)
        monkeypatch.setattr(program, "SPARE", 0)
        monkeypatch.setattr(program, "holding", lambda node: ["process 7 (qemu) has it open"])
        monkeypatch.setattr(program, "identity", kernel.identity)
        monkeypatch.setattr(fcntl, "ioctl", kernel.ioctl)
        monkeypatch.setattr(os, "open", kernel.open)
        program.main([str(11 * MIB // 2), f"{NODE}={BDF}"])
        said = json.loads(capsys.readouterr().out)
        assert isinstance(said, dict)
        return said

    return run


def test_a_good_device_is_described_and_the_guests_memory_comes_and_goes(asked: Asked) -> None:
    kernel = Kernel()
    said = asked(kernel)
    assert "error" not in said
    assert said["groups"][0]["viable"] is True
    [device] = said["devices"]
    assert device["regions"] == {"BAR 1": [MIB, 1], "configuration": [4096, 0]}
    assert device["interrupts"] == {"INTx": 1, "MSI-X": 6}
    assert (device["can_reset"], device["before"], device["after"]) == (True, *["1af41043"] * 2)
    assert said["ranges"] == RANGES
    memory = said["memory"]
    assert memory["asked"] == memory["mapped"] == memory["unmapped"] == 11 * MIB // 2
    assert not kernel.mapped


@pytest.mark.parametrize(
    ("what", "code", "says"),
    [
        (NODE, errno.EBUSY, f"opening {NODE}: Device or resource busy"),
        (program.CONTAINER, errno.ENOENT, f"opening {program.CONTAINER}: No such file"),
        ("SET_CONTAINER", errno.EINVAL, f"attaching a group to {program.CONTAINER}: Invalid"),
        ("SET_IOMMU", errno.ENODEV, "(module vfio_iommu_type1): No such device"),
        ("GET_DEVICE", errno.EINVAL, f"opening {BDF}: Invalid argument"),
        ("MAP_DMA", errno.ENOMEM, "mapping memory: Cannot allocate memory"),
    ],
)
def test_a_refusal_says_at_which_step(asked: Asked, what: str, code: int, says: str) -> None:
    said = asked(Kernel(**{what: code}))
    assert says in said["error"]
    assert said["groups"][0]["holders"] == ["process 7 (qemu) has it open"]


def test_a_group_that_is_not_viable_is_asked_no_more(asked: Asked) -> None:
    kernel = Kernel()
    kernel.viable = False
    said = asked(kernel)
    assert (said["groups"][0]["viable"], said["devices"]) == (False, [])


def test_a_device_that_does_not_come_back_is_told(asked: Asked) -> None:
    kernel = Kernel(RESET=errno.ENOTTY)
    kernel.ids = ["10de20f1", "ffffffff"]
    [device] = asked(kernel)["devices"]
    assert device["reset_says"] == "Inappropriate ioctl for device"
    assert (device["before"], device["after"]) == ("10de20f1", "ffffffff")


@pytest.mark.parametrize(
    ("size", "ranges", "place"),
    [
        (20 << 30, RANGES, 4 << 30),  # Intel, 39 bits
        (1 << 30, [[0, 0x7FFFFFF], [0x8100000, (1 << 48) - 1]], 4 << 30),  # SMMU: MSI at 0x8000000
        (1 << 30, [[0, 0xFEDFFFFF]], 0),  # 32 bits alone
        (4 << 30, [[0, 0xFEDFFFFF]], None),
        (1 << 40, RANGES, None),
        (1 << 40, [], 4 << 30),  # a kernel that does not tell
    ],
)
def test_memory_goes_where_there_is_room(
    size: int, ranges: list[list[int]], place: int | None
) -> None:
    assert program.place_for(size, ranges) == place


def test_who_holds_a_group_is_found(tmp_path: Path) -> None:
    node = tmp_path / "6"
    node.write_text("")
    with node.open():
        said = program.holding(str(node))
    assert [line for line in said if line.startswith(f"process {os.getpid()} (")]
    assert program.holding(str(node)) == []


@pytest.fixture
def local() -> Any:
    with open_local(become=False) as host:
        yield host


def test_a_node_that_is_none_is_an_answer(local: Host) -> None:
    answer = ask(local, {"/dev/vfio/none": [BDF]}, MIB)
    assert answer.error == "opening /dev/vfio/none: No such file or directory"
    assert not answer.reached_memory


def test_an_old_python_that_does_not_run_it_is_told(
    local: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = tmp_path / "python3"
    old.write_text("#!/bin/sh\necho 'SyntaxError: invalid syntax' >&2; exit 1\n")
    old.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    answer = ask(local, {NODE: [BDF]}, MIB)
    assert answer.error.endswith("does not run the question to VFIO: SyntaxError: invalid syntax")


def test_the_program_needs_nothing_of_ours() -> None:
    command = [sys.executable, "-I", "-S", "-c", PROGRAM, str(MIB), f"{NODE}-none={BDF}"]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert json.loads(said)["error"].startswith(f"opening {NODE}-none: ")
