"""The guest's network: the addresses, MAC and routes that the host's namespace had."""

import os
import subprocess
from typing import Any

Interface = dict[str, Any]


def commands(interface: Interface, current: str) -> list[str]:
    """Lines for ``ip -batch`` that turn the link ``current`` into the interface asked for."""
    name = interface["name"]
    lines = [f"link set dev {current} down"]
    if current != name:
        lines.append(f"link set dev {current} name {name}")
    lines.append(f"link set dev {name} mtu {interface['mtu']} up")
    lines += [f"address add {address} dev {name}" for address in interface["addresses"]]
    # A gateway must be reachable when its route is added: link routes go first.
    for route in sorted(interface["routes"], key=lambda route: "gateway" in route):
        words = [f"route replace {route['to']}"]
        if "gateway" in route:
            words.append(f"via {route['gateway']}")
        words.append(f"dev {name}")
        if "scope" in route:
            words.append(f"scope {route['scope']}")
        lines.append(" ".join(words))
    return lines


def configure(interfaces: list[Interface]) -> None:
    """Set the interfaces up; OSError with what ``ip`` said if it refuses."""
    lines = ["link set dev lo up"]
    for interface in interfaces:
        lines += commands(interface, find(interface["mac"]))
    done = subprocess.run(
        ["ip", "-batch", "-"],
        input="\n".join(lines) + "\n",
        capture_output=True,
        text=True,
        env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
        check=False,
    )
    if done.returncode:
        raise OSError(f"the guest's network cannot be set up: {done.stderr.strip()}")


def find(mac: str, sysfs: str = "/sys/class/net") -> str:
    """The link with this MAC."""
    for name in os.listdir(sysfs):
        with open(f"{sysfs}/{name}/address", encoding="utf-8") as file:
            if file.read().strip() == mac.lower():
                return name
    raise OSError(f"the guest has no network card with MAC {mac}; is virtio_net loaded?")
