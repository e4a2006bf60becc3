"""The ``kata-runtime`` command: ``check``, ``env`` and ``--version`` in kata's shape.

Real: the values are read from the configuration in effect and from the host; what ``env`` tells,
and its refusals, are those of the release that is followed (``release``).
Not real: the commit (it says so); of kata's env only what there is a reason to look at; ``check``
looks at few modules and loads none.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
from typing import Any

from . import config, log, qemu, release
from .config import Config, ConfigError
from .release import Release

MODULES = {
    "kvm": "Kernel-based Virtual Machine",
    "vhost": "Host kernel accelerator for virtio",
    "vhost_net": "Host kernel accelerator for virtio network",
    "vhost_vsock": "Host Support for Linux VM Sockets",
}
_COMMIT = "stand-in, not kata"
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


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
    kata = release.of_host()
    if arguments.version:
        print(f"kata-runtime  : {kata.version}\n   commit   : {_COMMIT}\n   OCI specs: 1.1.0")
        return 0
    if arguments.command is None:
        parser.print_help(sys.stderr)
        return 1
    try:
        settings = config.load(arguments.config or config.installed())
    except ConfigError as error:
        print(error, file=sys.stderr)
        return 1
    if arguments.command.endswith("check"):
        return _check()
    tree = environment(settings, kata)
    print(json.dumps(tree, indent=2) if arguments.json else "\n".join(_toml(tree)).strip())
    return 0


def problems(modules: str = "/sys/module", kvm: bool | None = None) -> list[str]:
    """What keeps this host from running machines, as lines of kata's log."""
    about: dict[str, object] = {"arch": _ARCHITECTURES.get(platform.machine(), "")}
    about |= {"pid": os.getpid(), "source": "runtime"}
    found = [
        log.line("error", f"kernel property {name} not found", {**about, "description": text})
        for name, text in MODULES.items()
        if not os.path.isdir(f"{modules}/{name}")
    ]
    if not (qemu.kvm_works() if kvm is None else kvm):
        found.append(log.line("error", "cannot create a virtual machine with /dev/kvm", about))
    return found


def _check() -> int:
    if found := problems():
        print(
            *found,
            "ERROR: System is not capable of running Kata Containers",
            sep="\n",
            file=sys.stderr,
        )
        return 1
    print("System is capable of running Kata Containers")
    print("System can currently create Kata Containers")
    return 0


def environment(settings: Config, kata: Release) -> dict[str, Any]:
    """The tree of ``kata-runtime env --json``, as far as anybody looks at it (kata-env.go)."""
    version = subprocess.run(
        [settings.path, "--version"], capture_output=True, text=True, check=False
    )
    hypervisor = {
        "Version": version.stdout.strip(),
        "Path": settings.path,
        "HotPlugVFIO": settings.hot_plug_vfio,
        "ColdPlugVFIO": settings.cold_plug_vfio,
        "Debug": settings.hypervisor_debug,
    }
    if kata.newer:  # from 3.3.0 on
        hypervisor["SecurityInfo"] = {"GuestHookPath": settings.guest_hook_path}
    return {
        "Kernel": {"Path": settings.kernel, "Parameters": settings.kernel_params},
        "Image": {"Path": settings.image},
        "Initrd": {"Path": settings.initrd},
        "Hypervisor": hypervisor,
        "Runtime": {
            "Config": {"Path": settings.source},
            "Version": {"Version": {"Semver": kata.version, "Commit": _COMMIT}},
            "Debug": settings.runtime_debug,
        },
        "Agent": {"Debug": settings.agent_debug},
    }


def _toml(tree: dict[str, Any], name: str = "") -> list[str]:
    plain = {key: value for key, value in tree.items() if not isinstance(value, dict)}
    lines = ["", f"[{name}]"] if name else []
    lines += [f"{key} = {json.dumps(value)}" for key, value in plain.items()]
    for key, value in tree.items():
        if isinstance(value, dict):
            lines += _toml(value, f"{name}.{key}".lstrip("."))
    return lines
