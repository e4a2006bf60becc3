"""kata's tcfilter model: what arrives at the namespace's eth0 goes to the machine, and back.

Runs in the container's network namespace. The interface keeps its address, but its namespace never
answers any more: every packet is redirected to the tap before its own stack sees it. The machine
gets the same MAC, addresses and routes.
"""

import json
import subprocess
from typing import Any

TAP = "tap{}_kata"
Interface = dict[str, Any]


class NetworkError(Exception):
    """The machine's network cannot be set up; the text says why."""


def read() -> list[Interface]:
    """The Ethernet interfaces of this namespace with their addresses and routes."""
    links = json.loads(_ip("-json", "address", "show"))
    routes = json.loads(_ip("-json", "route", "show"))
    return interfaces(links, routes)


def interfaces(links: list[Any], routes: list[Any]) -> list[Interface]:
    """What the guest is told, from the JSON of ``ip address`` and ``ip route``."""
    found = []
    for link in links:
        if link.get("link_type") != "ether" or link["ifname"].endswith("_kata"):
            continue
        name = link["ifname"]
        addresses = [
            f"{entry['local']}/{entry['prefixlen']}"
            for entry in link.get("addr_info", [])
            if entry.get("scope") == "global"
        ]
        found.append(
            {
                "name": name,
                "mac": link["address"],
                "mtu": link["mtu"],
                "addresses": addresses,
                "routes": [_route(route) for route in routes if _wanted(route, name)],
            }
        )
    return found


def _wanted(route: dict[str, Any], name: str) -> bool:
    # The kernel makes a link route of its own for each address.
    return route.get("dev") == name and route.get("protocol") != "kernel"


def _route(route: dict[str, Any]) -> dict[str, str]:
    words = {"to": route["dst"]}
    words |= {key: route[key] for key in ("gateway", "scope") if key in route}
    return words


def connect(found: list[Interface]) -> list[str]:
    """Make a tap for each interface and redirect both ways; returns the taps' names."""
    taps = [TAP.format(number) for number in range(len(found))]
    for interface, tap in zip(found, taps, strict=True):
        _ip("tuntap", "add", "dev", tap, "mode", "tap", "vnet_hdr")
        _ip("link", "set", "dev", tap, "mtu", str(interface["mtu"]), "up")
        for source, target in ((interface["name"], tap), (tap, interface["name"])):
            _run("tc", "qdisc", "add", "dev", source, "ingress")
            _run(
                *("tc", "filter", "add", "dev", source, "parent", "ffff:", "protocol", "all"),
                *("u32", "match", "u32", "0", "0"),
                *("action", "mirred", "egress", "redirect", "dev", target),
            )
    return taps


def disconnect(found: list[Interface]) -> None:
    """Undo ``connect``; what is not there any more is no error, whoever took it away."""
    for words in removal(found):
        subprocess.run(words, capture_output=True, check=False)


def removal(found: list[Interface]) -> list[list[str]]:
    """The commands that undo ``connect``, to be run in the namespace."""
    words = []
    for number, interface in enumerate(found):
        words.append(["ip", "link", "delete", "dev", TAP.format(number)])
        words.append(["tc", "qdisc", "delete", "dev", interface["name"], "ingress"])
    return words


def _ip(*words: str) -> str:
    return _run("ip", *words)


def _run(*words: str) -> str:
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        raise NetworkError(f"'{' '.join(words)}' exited {done.returncode}: {done.stderr.strip()}")
    return done.stdout
