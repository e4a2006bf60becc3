"""The ``kata-runtime`` command: ``check``, ``env`` and ``--version`` in kata's shape.

Real: the values are read from the configuration in effect and from the host.
Not real: the version (it says so), and the entries of kata's env that nothing here is behind.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
from typing import Any

from . import config, qemu
from .cli import VERSION
from .config import Config, ConfigError

_MODULES = ("kvm", "vhost", "vhost_net", "vhost_vsock")
_COMMIT = "stand-in, not kata"


def main() -> int:
    """Carry out one command; returns the exit status."""
    parser = argparse.ArgumentParser(prog="kata-runtime", description="a stand-in for kata-runtime")
    parser.add_argument("--version", "-v", action="store_true")
    parser.add_argument("--config", default=None, help="configuration file to read")
    commands = parser.add_subparsers(dest="command")
    for name in ("check", "kata-check"):
        check = commands.add_parser(name, help="can this host run kata?")
        for flag in ("--no-network-checks", "--verbose", "--check-version-only", "--strict"):
            check.add_argument(flag, f"-{flag[2]}", action="store_true")
    for name in ("env", "kata-env"):
        env = commands.add_parser(name, help="show the settings in effect")
        env.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    if arguments.version:
        print(f"kata-runtime  : {VERSION}\n   commit   : {_COMMIT}\n   OCI specs: 1.0.2")
        return 0
    try:
        if arguments.command in ("check", "kata-check"):
            return _check(arguments.verbose)
        if arguments.command in ("env", "kata-env"):
            return _env(config.load(arguments.config), as_json=arguments.json)
    except ConfigError as error:
        print(f"ERROR: {error}", file=sys.stderr)
        return 1
    parser.print_help(sys.stderr)
    return 1


def problems(modules: str = "/sys/module", kvm: bool | None = None) -> list[str]:
    """What keeps this host from running machines, in kata's words where it has them."""
    found = [
        f"kernel property {name} not found"
        for name in _MODULES
        if not os.path.isdir(f"{modules}/{name}")
    ]
    if not (qemu.kvm_works() if kvm is None else kvm):
        found.append("cannot create a virtual machine with /dev/kvm")
    return found


def _check(verbose: bool) -> int:
    found = problems()
    for line in found:
        print(f"ERROR: {line}", file=sys.stderr)
    if found:
        print("ERROR: System is not capable of running Kata Containers", file=sys.stderr)
        return 1
    if verbose:
        print(f"INFO: kernel modules present: {', '.join(_MODULES)}")
    print("System is capable of running Kata Containers")
    print("System can currently create Kata Containers")
    return 0


def _env(settings: Config, *, as_json: bool) -> int:
    tree = environment(settings)
    print(json.dumps(tree, indent=2) if as_json else "\n".join(_toml(tree)).strip())
    return 0


def environment(settings: Config) -> dict[str, Any]:
    """The tree of ``kata-runtime env --json``: kata's own keys (src/runtime, kata-env.go) alone."""
    version = {"OCI": "1.0.2", "Version": {"Semver": VERSION, "Commit": _COMMIT}}
    return {
        "Kernel": {
            "Path": settings.kernel,
            "Parameters": qemu.kernel_command_line(settings),
        },
        "Meta": {"Version": "1.0.27-standin"},
        "Image": {"Path": settings.image},
        "Initrd": {"Path": settings.initrd},
        "Hypervisor": {
            "MachineType": settings.machine_type,
            "Version": _version(settings.path),
            "Path": settings.path,
            "BlockDeviceDriver": "virtio-blk",
            "SharedFS": settings.shared_fs,
            "VirtioFSDaemon": settings.virtio_fs_daemon,
            "HotPlugVFIO": settings.hot_plug_vfio,
            "ColdPlugVFIO": settings.cold_plug_vfio,
            "Debug": settings.hypervisor_debug,
            "SecurityInfo": {
                "GuestHookPath": settings.guest_hook_path,
                "ConfidentialGuest": False,  # there is no TEE behind this stand-in
            },
        },
        "Runtime": {
            "Path": "/usr/local/bin/kata-runtime",
            "GuestSeLinuxLabel": "",
            "Debug": settings.runtime_debug,
            "Version": version,
            "Config": {"Path": settings.source},
        },
        "Host": _host(),
        "Agent": {"Debug": settings.agent_debug, "Trace": False},
    }


def _host() -> dict[str, Any]:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") >> 10
    return {
        "AvailableGuestProtections": [],  # an emulated x86-64 host has none
        "Kernel": platform.release(),
        "Architecture": {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), ""),
        "VMContainerCapable": not problems(),
        "SupportVSocks": os.path.exists("/dev/vhost-vsock"),
        "Memory": {"Total": memory},
    }


def _version(path: str) -> str:
    done = subprocess.run([path, "--version"], capture_output=True, text=True, check=False)
    return done.stdout.partition("\n")[0]


def _toml(tree: dict[str, Any], name: str = "") -> list[str]:
    plain = {key: value for key, value in tree.items() if not isinstance(value, dict)}
    lines = ["", f"[{name}]"] if name else []
    lines += [f"{key} = {json.dumps(value)}" for key, value in plain.items()]
    for key, value in tree.items():
        if isinstance(value, dict):
            lines += _toml(value, f"{name}.{key}".lstrip("."))
    return lines
