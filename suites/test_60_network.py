"""The namespace has an address and can be reached."""

import ipaddress

import pytest

from fixtures.network import Network
from fixtures.schema import Profile
from harness.host import ANY, Host

pytestmark = [pytest.mark.acceptance, pytest.mark.network, pytest.mark.order(60)]


@pytest.mark.clause("network.conf")
def test_configuration_is_rendered(network: Network, host: Host, profile: Profile) -> None:
    path = f"{profile.network.configurations}/{profile.network.name}.conf"
    text = host.infra.file(path).content_string
    assert profile.network.subnet in text
    assert "{subnetIp}" not in text, "the guide's placeholder is still in the configuration"


@pytest.mark.clause("network.netns")
def test_namespace_is_there(network: Network, host: Host) -> None:
    assert host.infra.file(network.netns).exists


@pytest.mark.clause("network.add")
def test_address_is_from_the_subnet(network: Network, profile: Profile) -> None:
    subnet = ipaddress.ip_network(profile.network.subnet)
    assert ipaddress.ip_address(network.address) in subnet


@pytest.mark.clause("network.ping")
def test_namespace_answers_ping(network: Network, host: Host) -> None:
    result = host.run("ping", "-n", "-c", "2", "-w", "10", network.address, ok=ANY, timeout=20)
    assert result.rc == 0, f"no answer from {network.address}:\n{result.out}{result.err}"


@pytest.mark.clause("network.ping")
def test_namespace_reaches_its_gateway(network: Network, host: Host) -> None:
    ping = ("ping", "-n", "-c", "2", "-w", "10", network.gateway)
    result = host.run("ip", "netns", "exec", network.name, *ping, ok=ANY, timeout=20)
    assert result.rc == 0, f"no answer from {network.gateway}:\n{result.out}{result.err}"
