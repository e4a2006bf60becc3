"""The namespace has an address and can be reached."""

import ipaddress
import shlex
from collections.abc import Sequence

import pytest
from testinfra.host import Host

from fixtures.common.diagnostics import best_hint
from fixtures.common.iproute import Link, Route, names
from fixtures.network import cni
from fixtures.network.stage import Network
from fixtures.profile import Profile
from harness.host.command import without_usage
from harness.host.shape import read
from harness.outcome import not_assessed

FIREWALL = (
    "a firewall on the host (firewalld, nftables) may drop what comes from the bridge; network.txt "
    "in the evidence has the rules"
)

PRINTS = "should have printed JSON"


def links(host: Host, words: str, name: str) -> list[Link]:
    """The interfaces that `ip` tells of."""
    return read(host.check_output(f"ip {words}", name), list[Link], f"'ip {words % name}' {PRINTS}")


@pytest.mark.clause("network.plugins")
@pytest.mark.parametrize("plugin", cni.PLUGINS)
def test_plugin_knows_the_configurations_version(network: Network, host: Host, plugin: str) -> None:
    path = f"{network.programs.folder}/{plugin}"
    answer = host.run("CNI_COMMAND=VERSION %s", path)
    assert answer.succeeded, (
        f"'CNI_COMMAND=VERSION {path}' ended with {answer.rc}, expected 0: {answer.stdout}"
        f"{answer.stderr}\nis it a CNI plugin at all? Unpack the plugins' release there again"
    )
    known = read(answer.stdout, cni.Versions, f"'CNI_COMMAND=VERSION {path}' {PRINTS}").supported
    assert cni.VERSION in known, (
        f"{path} knows versions {', '.join(known)} of CNI, and the guide's configuration is of "
        f"{cni.VERSION}: take a release of the plugins that knows it (since 0.8.0)"
    )


@pytest.mark.clause("network.cnitool")
def test_cnitool_is_the_pinned_one(network: Network, host: Host, profile: Profile) -> None:
    path, pinned = network.programs.cnitool, profile.network.cnitool
    found = host.file(path).sha256sum
    if pinned is None:
        not_assessed(
            f"no network.cnitool in the profile says which program {path} has to be (it has sha256 "
            f"{found}): the guide builds it of a branch, which is another program by now"
        )
    assert found == pinned.sha256, (
        f"{path} has sha256 {found}, and network.cnitool of the profile is {pinned.sha256}: "
        "somebody replaced it, or one that comes first on PATH was taken; v1.2.3 to v1.3.1 have "
        "the command line that is used here"
    )


@pytest.mark.clause("network.conf")
def test_bridge_has_our_interface_alone(network: Network, host: Host) -> None:
    ports = names(links(host, "-j link show master %s", network.bridge))
    assert len(ports) == 1, (
        f"bridge {network.bridge} has {len(ports)} ports, expected is the one that was added: "
        f"{ports}. Another CNI network uses the same bridge, as flannel does cni0: name a bridge "
        "of its own in network.bridge of the profile"
    )


@pytest.mark.clause("network.conf")
def test_bridge_has_the_gateways_address(network: Network, host: Host) -> None:
    found = host.interface(network.bridge).addresses
    assert network.gateway in found, (
        f"bridge {network.bridge} has {found}, expected is the gateway {network.gateway} "
        "(isDefaultGateway): somebody took it away since 'cnitool add'; undo, then add again"
    )


@pytest.mark.clause("network.conf")
def test_namespace_goes_out_by_the_bridge(network: Network, host: Host) -> None:
    family = ipaddress.ip_address(network.gateway).version
    command = f"ip -n %s -{family} -j route show default"
    routes = read(host.check_output(command, network.name), list[Route], f"'{command}' {PRINTS}")
    found = [hop.gateway for route in routes for hop in route.hops]
    assert found == [network.gateway], (
        f"default routes of namespace '{network.name}' are by {found or 'nothing'}, expected is "
        f"{network.gateway}, the bridge's address (isDefaultGateway): see network.txt in the "
        "evidence for what was changed since 'cnitool add'"
    )


@pytest.mark.clause("network.conf")
def test_bridge_sends_back_where_it_came_from(network: Network, host: Host) -> None:
    ports = host.file(f"/sys/class/net/{network.bridge}/brif").listdir()
    modes = {
        port: host.file(f"/sys/class/net/{port}/brport/hairpin_mode").content_string.strip()
        for port in ports
    }
    assert modes and set(modes.values()) == {"1"}, (  # noqa: PT018  # no port is no hairpin
        f"hairpin_mode of the ports of {network.bridge} is {modes}, expected 1 for each "
        "(hairpinMode): the container could not reach itself by an address of the host's; the "
        "plugin 'bridge' sets it: is it the release that the profile means?"
    )


@pytest.mark.clause("network.conf")
def test_what_leaves_the_host_is_masqueraded(network: Network, host: Host) -> None:
    program = "iptables" if ipaddress.ip_address(network.address).version == 4 else "ip6tables"
    rules = host.check_output(f"{program} -t nat -S").splitlines()
    words = [shlex.split(rule) for rule in rules if rule.startswith("-A")]
    chains = {_target(rule) for rule in words if _is_from(network.address, rule)}
    masked = [rule for rule in words if _target(rule) == "MASQUERADE" and rule[1] in chains]
    assert masked or "MASQUERADE" in chains, (
        f"no rule of the table 'nat' masquerades what comes from {network.address} (ipMasq), so no "
        "answer from outside finds its way back; did a firewall load its own rules since 'cnitool "
        "add'? Then undo and add again. There are:\n" + "\n".join(rules)
    )


def _target(rule: Sequence[str]) -> str:
    """Where a rule of iptables -S leads; options may follow (--random-fully)."""
    return rule[rule.index("-j") + 1] if "-j" in rule[:-1] else ""


def _is_from(address: str, rule: Sequence[str]) -> bool:
    """Whether a rule of iptables -S picks packets by a source that the address is of."""
    if "-s" not in rule[:-1]:
        return False
    at = rule.index("-s")
    source = ipaddress.ip_network(rule[at + 1], strict=False)
    return rule[at - 1] != "!" and ipaddress.ip_address(address) in source


@pytest.mark.clause("network.netns")
def test_namespace_is_nobody_elses(network: Network, host: Host) -> None:
    found = names(links(host, "-n %s -j link show", network.name))
    left = [name for name in found if name.startswith("tap")]
    assert not left, (
        f"namespace '{network.name}' has {found}: {', '.join(left)} is an earlier container's "
        "(kata-containers #6339), and the next gets no network there. A namespace is for one "
        "container: 'cnitool del', 'ip netns del', then run again"
    )


@pytest.mark.clause("network.add", "network.cnitool")
def test_cnitool_check_agrees(network: Network, host: Host, profile: Profile) -> None:
    argv = cni.cnitool_argv(profile.network, network.programs, "check")
    result = host.run(" ".join(["%s"] * len(argv)), *argv, timeout=90)
    said = without_usage(f"{result.stderr}{result.stdout}".rstrip())
    otherwise = (
        "something changed the namespace after 'cnitool add'; cni.txt and network.txt in the "
        "evidence have the result that CNI expects and what there is"
    )
    assert result.succeeded, (
        f"'cnitool check {network.name}' ended with {result.rc}, expected 0: {said}\n"
        f"{best_hint(said, cni.HINTS, otherwise)}"
    )


@pytest.mark.clause("network.address")
def test_address_is_from_the_subnet(network: Network, profile: Profile) -> None:
    subnet = ipaddress.ip_network(profile.network.subnet)
    assert ipaddress.ip_address(network.address) in subnet, (
        f"CNI gave {network.address}, expected one of {subnet} (network.subnet): '{{subnetIp}}/"
        f"{{mask}}' in the guide is a placeholder. Is another configuration named '{network.name}' "
        "in network.configurations? The first by name is the one that counts"
    )


@pytest.mark.clause("network.address")
def test_namespace_has_the_address(network: Network, host: Host) -> None:
    found = links(host, "-n %s -j addr show eth0", network.name)
    addresses = [info.local for link in found for info in link.addr_info]
    assert network.address in addresses, (
        f"eth0 of '{network.name}' has {addresses}, CNI's result says {network.address}: somebody "
        "changed it since 'cnitool add' (NetworkManager, a container that ran in it)"
    )
    states = [link.operstate for link in found if link.ifname]
    assert states == ["UP"], (
        f"eth0 of '{network.name}' is {' '.join(states)}, expected UP: is its other end, a port "
        f"of {network.bridge}, down? 'ip link set ... up', or undo and add again"
    )


@pytest.mark.clause("network.address")
def test_address_is_leased_once(network: Network, host: Host) -> None:
    leases = cni.addresses(host.file(cni.leases_folder(network.name)).listdir())
    assert leases == [network.address], (
        f"host-local has given out {leases} in '{network.name}', and {network.address} is the one "
        "in use: 'cnitool add' without 'del' leaks addresses (the guide's steps cannot be "
        f"repeated). Remove the others from {cni.leases_folder(network.name)}"
    )


@pytest.mark.clause("network.ping")
def test_namespace_answers_ping(network: Network, host: Host) -> None:
    result = host.run("ping -n -c 2 -w 10 %s", network.address, timeout=20)
    assert result.succeeded, (
        f"no answer from {network.address} within 10 s:\n{result.stdout}{result.stderr}\n{FIREWALL}"
    )


@pytest.mark.clause("network.ping")
def test_namespace_reaches_its_gateway(network: Network, host: Host) -> None:
    ping = "ip netns exec %s ping -n -c 2 -w 10 %s"
    result = host.run(ping, network.name, network.gateway, timeout=20)
    assert result.succeeded, (
        f"{network.gateway}, the bridge's own address, does not answer from inside within 10 s:\n"
        f"{result.stdout}{result.stderr}\n{FIREWALL}"
    )
