"""The namespace has an address and can be reached."""

import ipaddress
import json
from pathlib import PurePosixPath

import pytest

from fixtures.common import elf
from fixtures.network import cni, subnets
from fixtures.network.stage import Network
from fixtures.platform.stage import Platform
from fixtures.profile import Profile
from harness.host.host import ANY, Host

pytestmark = [pytest.mark.acceptance, pytest.mark.network, pytest.mark.order(60)]


@pytest.mark.clause("network.plugins")
@pytest.mark.parametrize("plugin", cni.PLUGINS)
def test_plugin_is_for_this_machine(network: Network, platform: Platform, plugin: str) -> None:
    found = {
        PurePosixPath(path).name: machine for path, machine in network.programs.plugins.items()
    }
    wanted = elf.MACHINES.get(platform.machine, platform.machine)
    assert found[plugin] == wanted, (
        f"CNI plugin '{plugin}' is for {found[plugin]}, this machine is {wanted}; the guide's "
        "archive 'linux-arm' is the 32-bit build, 'linux-arm64' is meant"
    )


@pytest.mark.clause("network.cnitool")
def test_cnitool_is_for_this_machine(network: Network, platform: Platform) -> None:
    wanted = elf.MACHINES.get(platform.machine, platform.machine)
    assert network.programs.cnitool_machine in (wanted, elf.SCRIPT), (
        f"{network.programs.cnitool} is for {network.programs.cnitool_machine}, not {wanted}; "
        "build it with the host's GOARCH"
    )


@pytest.mark.clause("network.cnitool")
def test_cnitool_is_the_pinned_one(network: Network, profile: Profile) -> None:
    found, pinned = network.programs.cnitool_sha256, profile.network.cnitool
    assert len(found) == 64, f"sha256sum says nothing of {network.programs.cnitool}"
    assert pinned is None or found == pinned.sha256, (
        f"{network.programs.cnitool} has sha256 {found}, and network.cnitool of the profile is "
        f"{pinned.sha256 if pinned else ''}: the guide builds it of a branch, which is another "
        "program by now (v1.2.3 and v1.3.0 have the command line that is used here)"
    )


@pytest.mark.clause("network.conf")
def test_configuration_is_the_guides(network: Network, host: Host, profile: Profile) -> None:
    written = json.loads(host.read(network.configuration))
    wanted = {
        "cniVersion": "0.4.0",
        "name": profile.network.name,
        "type": "bridge",
        "bridge": profile.network.bridge,
        "isDefaultGateway": True,
        "ipMasq": True,
        "hairpinMode": True,
        "ipam": {"type": "host-local", "subnet": profile.network.subnet},
    }
    different = {key: written.get(key) for key in wanted if written.get(key) != wanted[key]}
    assert not different, (
        f"{network.configuration} has {different}, expected "
        f"{ {key: wanted[key] for key in different} }; '{{subnetIp}}/{{mask}}' in the guide is a "
        "placeholder"
    )


@pytest.mark.clause("network.conf")
def test_subnet_is_nobody_elses(network: Network, host: Host, profile: Profile) -> None:
    routes = host.run("ip", "-j", "route", "show", "table", "all", probe=True).json()
    elsewhere = [route for route in routes if route.get("dev") != network.bridge]
    files = cni.configurations(host, profile.network.configurations)
    others = [c for c in files if c.path != network.configuration]
    taken = [*subnets.of_routes(elsewhere), *subnets.of_configurations(others)]
    clashes = subnets.overlapping(profile.network.subnet, taken)
    assert routes, "'ip route' lists nothing at all, so nothing was compared"
    assert not clashes, (
        f"subnet {profile.network.subnet} is also {'; '.join(c.by for c in clashes)}; choose a "
        "free one for network.subnet of the profile"
    )


@pytest.mark.clause("network.conf")
def test_bridge_has_our_interface_alone(network: Network, host: Host) -> None:
    ports = host.run("ip", "-j", "link", "show", "master", network.bridge, probe=True).json()
    assert len(ports) == 1, (
        f"bridge {network.bridge} has {len(ports)} ports: {[p['ifname'] for p in ports]}; one was "
        "added. Another CNI network uses the same bridge, as flannel does cni0"
    )


@pytest.mark.clause("network.netns")
def test_namespace_is_there(network: Network, host: Host) -> None:
    names = [n["name"] for n in host.run("ip", "-j", "netns", "list", probe=True).json()]
    assert network.name in names, f"'ip netns list' has {names}, not '{network.name}'"
    assert host.exists(network.netns), f"{network.netns} is missing, which ctr is given"


@pytest.mark.clause("network.add")
def test_cnitool_check_agrees(network: Network, host: Host, profile: Profile) -> None:
    argv = cni.cnitool_argv(profile.network, network.programs, "check")
    result = host.run(*argv, ok=ANY, timeout=90)
    assert result.rc == 0, (
        f"'cnitool check {network.name}' ended with {result.rc}: {result.err}{result.out}\n"
        "something changed the namespace after 'cnitool add'; cni.txt and network.txt in the "
        "evidence have the result that CNI expects and what there is"
    )


@pytest.mark.clause("network.address")
def test_address_is_from_the_subnet(network: Network, profile: Profile) -> None:
    subnet = ipaddress.ip_network(profile.network.subnet)
    assert ipaddress.ip_address(network.address) in subnet, (
        f"CNI gave {network.address}, which is not of {subnet}"
    )


@pytest.mark.clause("network.address")
def test_namespace_has_the_address(network: Network, host: Host) -> None:
    (link,) = host.run("ip", "-n", network.name, "-j", "addr", "show", "eth0", probe=True).json()
    addresses = [info["local"] for info in link["addr_info"]]
    assert network.address in addresses, (
        f"eth0 of '{network.name}' has {addresses}, CNI's result says {network.address}"
    )
    assert link["operstate"] == "UP", f"eth0 of '{network.name}' is {link['operstate']}"


@pytest.mark.clause("network.address")
def test_address_is_leased_once(network: Network, host: Host) -> None:
    leases = cni.leases(host, network.name)
    assert leases == [network.address], (
        f"host-local has given out {leases} in '{network.name}', and {network.address} is the one "
        "in use: 'cnitool add' without 'del' leaks addresses (the guide's steps cannot be repeated)"
    )


@pytest.mark.clause("network.ping")
def test_namespace_answers_ping(network: Network, host: Host) -> None:
    result = host.run("ping", "-n", "-c", "2", "-w", "10", network.address, ok=ANY, timeout=20)
    assert result.rc == 0, (
        f"no answer from {network.address} within 10 s:\n{result.out}{result.err}\n"
        "a firewall on the host (firewalld, nftables) may drop what comes from the bridge "
        f"{network.bridge}; network.txt in the evidence has the rules"
    )


@pytest.mark.clause("network.ping")
def test_namespace_reaches_its_gateway(network: Network, host: Host) -> None:
    ping = ("ping", "-n", "-c", "2", "-w", "10", network.gateway)
    result = host.run("ip", "netns", "exec", network.name, *ping, ok=ANY, timeout=20)
    assert result.rc == 0, (
        f"{network.gateway}, the bridge's own address, does not answer from inside:\n"
        f"{result.out}{result.err}\na firewall on the host may drop what comes in from the bridge"
    )
