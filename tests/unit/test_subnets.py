"""Whether a subnet is free, and for which machine a plugin is."""

import struct

import pytest

from fixtures.common.elf import elf_machine
from fixtures.network import subnets
from fixtures.network.cni import Programs, require, result_file
from harness.errors import LabError

ROUTES = [
    {"dst": "default", "gateway": "10.0.2.2", "dev": "eth0"},
    {"dst": "10.0.2.0/24", "dev": "eth0"},
    {"dst": "10.88.4.1", "dev": "tun0"},
    {"type": "unreachable", "dst": "fd00::/8"},
]


@pytest.mark.parametrize(
    ("subnet", "by"),
    [
        ("10.0.0.0/8", ["10.0.2.0/24", "10.88.4.1"]),
        ("10.88.0.0/16", ["10.88.4.1"]),
        ("10.88.5.0/24", []),
        ("fd12::/64", ["fd00::/8"]),
    ],
)
def test_a_route_takes_its_subnet(subnet: str, by: list[str]) -> None:
    found = subnets.overlapping(subnet, subnets.of_routes(ROUTES))
    assert [taken.by.split()[4] for taken in found] == by


def test_another_network_takes_its_subnets_and_its_bridge() -> None:
    text = """{"name": "pods", "plugins": [{"type": "bridge", "bridge": "cni0",
        "ipam": {"ranges": [[{"subnet": "10.244.0.0/16"}]]}}, {"type": "portmap"}]}"""
    found = subnets.configuration("/etc/cni/net.d/10-pods.conflist", text)
    assert (found.name, found.bridges, found.error) == ("pods", ("cni0",), "")
    (clash,) = subnets.overlapping("10.244.7.0/24", subnets.of_configurations([found]))
    assert "CNI network 'pods' in /etc/cni/net.d/10-pods.conflist" in clash.by


@pytest.mark.parametrize("text", ["", "{", "[]", '{"ipam": {"subnet": "10.88.0.0/99"}}'])
def test_a_configuration_that_cannot_be_read_says_so(text: str) -> None:
    assert subnets.configuration("x.conf", text).error


def elf(number: int, bits: int = 64) -> bytes:
    """An ELF header for a machine (elf.h)."""
    ident = b"\x7fELF" + bytes([1 if bits == 32 else 2, 1, 1]) + bytes(9)
    return (ident + struct.pack("<HH", 2, number)).ljust(64, b"\0")


@pytest.mark.parametrize(
    ("header", "name"),
    [
        (elf(183), "EM_AARCH64"),
        (elf(62), "EM_X86_64"),
        (elf(40, bits=32), "EM_ARM"),
        (b"#!/usr/bin/python3\n", "script"),
        (b"\x7fELF", "other"),
        (b"", None),
    ],
)
def test_a_programs_machine_is_in_its_header(header: bytes, name: str | None) -> None:
    assert elf_machine(header) == name


@pytest.mark.parametrize(
    ("plugin", "cnitool", "words"),
    [
        ("EM_ARM", "EM_AARCH64", "is for EM_ARM, this host is aarch64"),
        (None, "EM_AARCH64", "there is no CNI plugin /opt/cni/bin/bridge"),
        ("EM_AARCH64", None, "cnitool is not there"),
        ("EM_AARCH64", "EM_X86_64", "cnitool is for EM_X86_64"),
    ],
)
def test_a_program_for_another_machine_is_refused(
    plugin: str | None, cnitool: str | None, words: str
) -> None:
    folder = "/opt/cni/bin"
    found = Programs(folder, {f"{folder}/bridge": plugin}, f"{folder}/cnitool", cnitool, "0" * 64)
    with pytest.raises(LabError, match=words):
        require(found, "aarch64")


def test_libcni_caches_a_result_under_the_hash_of_the_namespaces_path() -> None:
    assert result_file("net", "/var/run/netns/net").startswith("/var/lib/cni/results/net-cnitool-")
