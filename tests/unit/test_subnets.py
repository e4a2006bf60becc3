"""Whether a subnet is free, and for which machine a plugin is."""

import struct
from pathlib import Path

import pytest

from fixtures.common.elf import elf_machine
from fixtures.common.iproute import Route
from fixtures.network import subnets
from fixtures.network.cni import Programs, require, result_file
from harness.errors import LabError
from harness.host.shape import read
from tests.unit.mini import ROOT

# Forms of iproute2's JSON; of routes that others have reported (OpenVPN's def1, Tailscale's
# "throw", calico's blackhole, ECMP), not recorded here.
ROUTES = """[
    {"dst": "default", "gateway": "10.0.2.2", "dev": "eth0", "flags": []},
    {"dst": "default", "metric": 20, "nexthops": [{"dev": "eth0"}, {"dev": "eth1"}]},
    {"type": "unreachable", "dst": "default", "dev": "lo", "metric": 4278198272},
    {"dst": "0.0.0.0/1", "gateway": "10.8.0.1", "dev": "tun0"},
    {"dst": "128.0.0.0/1", "gateway": "10.8.0.1", "dev": "tun0"},
    {"dst": "2000::/3", "dev": "wg0"},
    {"type": "throw", "dst": "10.88.0.0/16", "table": "52"},
    {"type": "unreachable", "dst": "10.0.0.0/8", "protocol": "static"},
    {"type": "prohibit", "dst": "10.88.0.0/16"},
    {"type": "multicast", "dst": "ff00::/8", "dev": "eth0", "table": "local"},
    {"dst": "10.0.2.0/24", "dev": "eth0", "protocol": "kernel", "scope": "link"},
    {"dst": "10.88.4.1", "nexthops": [{"dev": "tun0"}, {"dev": "tun1"}]},
    {"type": "blackhole", "dst": "10.233.64.0/26", "protocol": "bird"},
    {"dst": "fd00::/8", "dev": "wg0"},
    {"dst": "100", "dev": "lo"},
    {}
]"""
CONFIGURATIONS = sorted((ROOT / "tests" / "data" / "cni").iterdir())


@pytest.mark.case(
    "CNI", "a default route in two halves", source="libnetwork #779, docker/for-linux #418"
)
@pytest.mark.parametrize(
    ("subnet", "by"),
    [
        ("10.0.0.0/8", ["10.0.2.0/24", "10.88.4.1", "10.233.64.0/26"]),
        ("10.88.0.0/16", ["10.88.4.1"]),
        ("10.88.5.0/24", []),
        ("fd12::/64", ["fd00::/8"]),
    ],
)
def test_a_route_takes_its_subnet(subnet: str, by: list[str]) -> None:
    routes = read(ROUTES, list[Route], "it should be JSON")
    found = subnets.overlapping(subnet, subnets.of_routes(routes))
    assert [taken.by.split()[4] for taken in found] == by


def test_another_network_takes_its_subnets_and_its_bridge() -> None:
    text = """{"name": "pods", "plugins": [{"type": "bridge", "bridge": "cni0",
        "ipam": {"ranges": [[{"subnet": "10.244.0.0/16"}]]}}, {"type": "portmap"}]}"""
    found = subnets.configuration("/etc/cni/net.d/10-pods.conflist", text)
    assert (found.name, found.bridges, found.error) == ("pods", ("cni0",), "")
    (clash,) = subnets.overlapping("10.244.7.0/24", subnets.of_configurations([found]))
    assert "CNI network 'pods' in /etc/cni/net.d/10-pods.conflist" in clash.by


@pytest.mark.parametrize(
    ("plugin", "bridges", "taken"),
    [  # of the plugins' own documents; not recorded
        ('{"type": "bridge"}', ("cni0",), []),
        ('{"type": "flannel", "delegate": {"bridge": "br1"}}', ("br1",), []),
        (
            """{"type": "multus", "delegates": [{"name": "pods", "plugins": [{"type": "bridge",
            "bridge": "br2", "ipam": {"type": "host-local", "subnet": "10.8.0.0/16"}}]}]}""",
            ("br2",),
            ["10.8.0.0/16"],
        ),
    ],
)
def test_a_configuration_within_another_counts(
    plugin: str, bridges: tuple[str, ...], taken: list[str]
) -> None:
    text = f'{{"name": "n", "plugins": [{plugin}, {{"type": "portmap"}}]}}'
    found = subnets.configuration("x.conflist", text)
    assert (found.bridges, [str(network) for network in found.subnets]) == (bridges, taken)


@pytest.mark.case(
    "CNI",
    "configurations of other projects",
    source="rke2, flannel, cilium, AWS, CRI-O, podman, nerdctl",
)
@pytest.mark.parametrize("path", CONFIGURATIONS, ids=lambda path: path.name)
def test_what_libcni_reads_is_read(path: Path) -> None:
    found = subnets.configuration(str(path), path.read_text("utf-8"))
    assert (found.error, bool(found.name)) == ("", True)


@pytest.mark.case(
    "CNI", "a subnet that is a word of the plugin's own", source="kubernetes #62310, calico"
)
@pytest.mark.parametrize(
    ("ipam", "taken"),
    [
        ('{"type": "host-local", "subnet": "usePodCidr"}', []),
        (
            '{"ranges": [[{"subnet": "usePodCidr"}], [{"subnet": "2001:db8::/96"}]]}',
            ["2001:db8::/96"],
        ),
        ('{"subnet": "10.88.0.0/99", "dataDir": "/run/cni"}', []),
        ('{"subnet": "10.1.0.0/16", "routes": [{"dst": "0.0.0.0/0"}]}', ["10.1.0.0/16"]),
        ('{"type": "whereabouts", "range": "192.168.2.225/28"}', ["192.168.2.224/28"]),
        ('{"ipRanges": [{"range": "10.7.0.9-10.7.0.20/24"}]}', ["10.7.0.0/24"]),
        ('{"type": "calico-ipam", "ipv4_pools": ["10.5.0.0/24"]}', ["10.5.0.0/24"]),
        ('{"type": "static", "addresses": [{"address": "10.6.0.1/24"}]}', ["10.6.0.0/24"]),
        ('{"ranges": null}', []),
        ("{}", []),
        ("null", []),
        ('"dhcp"', []),
        ("7", []),
    ],
)
def test_the_networks_of_an_ipam_section_count(ipam: str, taken: list[str]) -> None:
    text = f'{{"name": "n", "type": "bridge", "bridge": null, "ipam": {ipam}}}'
    found = subnets.configuration("x.conf", text)
    assert ([str(network) for network in found.subnets], found.error) == (taken, "")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        *(("x.conf", text) for text in ("", "{", "[]", "null", "{}", '{"ipam": {}}', "\ufeff{}")),
        ("x.conf", '{"name": 7, "type": "bridge"}'),
        ("x.conf", '{"cniVersion": 1.0, "name": "n", "type": "bridge"}'),
        *(("x.conflist", text) for text in ("{}", '{"name": "n", "plugins": []}')),
        ("x.conflist", '{"name": "n", "plugins": {"type": "bridge"}}'),
        ("x.conflist", '{"name": "n", "plugins": [null]}'),
        ("x.conflist", '{"name": "n", "plugins": [{"bridge": "cni0"}]}'),
        ("x.conflist", '{"plugins": [{"type": "bridge"}]}'),
    ],
)
def test_a_configuration_that_cannot_be_read_says_so(name: str, text: str) -> None:
    assert subnets.configuration(name, text).error


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
