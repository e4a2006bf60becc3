"""configuration.toml, read as kata reads it.

Real: the file's place and precedence, the keys below with kata's defaults and kata's refusals.
Not real: keys that are not listed here are accepted and have no effect; annotations and drop-in
files are not looked at.
"""

import os
import tomllib
from typing import Any, NamedTuple

ETC = "/etc/kata-containers/configuration.toml"
DEFAULTS = "/usr/share/defaults/kata-containers/configuration.toml"
NO_PORT = "no-port"
_PORTS = (NO_PORT, "root-port", "switch-port", "bridge-port")
_SHARED_FS = "virtio-fs"


class ConfigError(Exception):
    """configuration.toml cannot be used; the text says why."""


class Config(NamedTuple):
    """What the stand-in takes from configuration.toml; memory in MiB, timeouts in seconds."""

    source: str
    path: str
    kernel: str
    image: str
    kernel_params: str
    machine_type: str
    default_vcpus: int
    default_memory: int
    enable_hugepages: bool
    shared_fs: str
    virtio_fs_daemon: str
    virtio_fs_cache: str
    virtio_fs_extra_args: tuple[str, ...]
    cold_plug_vfio: str
    hot_plug_vfio: str
    guest_hook_path: str
    hypervisor_debug: bool
    agent_debug: bool
    runtime_debug: bool
    dial_timeout: int

    @property
    def vfio_port(self) -> str:
        """The kind of port that VFIO devices go behind, empty if none is set."""
        for port in (self.cold_plug_vfio, self.hot_plug_vfio):
            if port != NO_PORT:
                return port
        return ""

    @property
    def initrd(self) -> str:
        """Debian's kernel has its drivers as modules: an initrd beside it, if there is one."""
        beside = f"{self.kernel}.initrd"
        return beside if os.path.exists(beside) else ""


def find() -> str:
    """The configuration file in effect: KATA_CONF_FILE, then /etc, then /usr/share/defaults."""
    named = os.environ.get("KATA_CONF_FILE")
    for path in [named] if named else [ETC, DEFAULTS]:
        if os.path.exists(path):
            return path
    raise ConfigError(f"file {named or ETC} does not exist")


def load(path: str | None = None) -> Config:
    """Read and check the configuration; ConfigError names the file and the key."""
    source = path or find()
    try:
        with open(source, "rb") as file:
            document = tomllib.load(file)
    except (OSError, ValueError) as error:
        raise ConfigError(f"{source}: {error}") from error
    config = _config(source, document)
    _check(config)
    return config


def _config(source: str, document: dict[str, Any]) -> Config:
    hypervisor = _Section(source, document, "hypervisor", "qemu")
    agent = _Section(source, document, "agent", "kata")
    runtime = _Section(source, document, "runtime")
    vcpus = hypervisor.number("default_vcpus", 1)
    return Config(
        source=source,
        path=hypervisor.text("path", "/usr/bin/qemu-system-x86_64"),
        kernel=hypervisor.text("kernel", ""),
        image=hypervisor.text("image", ""),
        kernel_params=hypervisor.text("kernel_params", ""),
        machine_type=hypervisor.text("machine_type", "q35"),
        default_vcpus=(os.cpu_count() or 1) if vcpus < 0 else vcpus or 1,
        default_memory=hypervisor.number("default_memory", 0) or 2048,
        enable_hugepages=hypervisor.flag("enable_hugepages"),
        shared_fs=hypervisor.text("shared_fs", _SHARED_FS),
        virtio_fs_daemon=hypervisor.text("virtio_fs_daemon", "/usr/libexec/virtiofsd"),
        virtio_fs_cache=hypervisor.text("virtio_fs_cache", "auto"),
        virtio_fs_extra_args=hypervisor.words("virtio_fs_extra_args"),
        cold_plug_vfio=hypervisor.text("cold_plug_vfio", NO_PORT) or NO_PORT,
        hot_plug_vfio=hypervisor.text("hot_plug_vfio", NO_PORT) or NO_PORT,
        guest_hook_path=hypervisor.text("guest_hook_path", ""),
        hypervisor_debug=hypervisor.flag("enable_debug"),
        agent_debug=agent.flag("enable_debug"),
        runtime_debug=runtime.flag("enable_debug"),
        dial_timeout=agent.number("dial_timeout", 45),
    )


def _check(config: Config) -> None:
    for key in ("path", "kernel", "image", "virtio_fs_daemon"):
        value = getattr(config, key)
        if not os.path.exists(value):
            raise ConfigError(f"{config.source}: '{key}' names '{value}', which does not exist")
    for key in ("cold_plug_vfio", "hot_plug_vfio"):
        value = getattr(config, key)
        if value not in _PORTS:
            raise ConfigError(f"{config.source}: invalid vfio_port={value} setting in '{key}'")
    if NO_PORT not in (config.cold_plug_vfio, config.hot_plug_vfio):
        raise ConfigError(
            f"invalid hot-plug={config.hot_plug_vfio} and cold-plug={config.cold_plug_vfio} "
            "settings, only one of them can be set"
        )
    if config.vfio_port not in ("", "root-port"):
        raise ConfigError(f"{config.source}: this stand-in plugs behind a root-port only")
    if config.shared_fs != _SHARED_FS:
        raise ConfigError(
            f"{config.source}: shared_fs = '{config.shared_fs}'; this stand-in has virtio-fs only"
        )
    if config.machine_type != "q35":
        raise ConfigError(f"{config.source}: machine_type must be 'q35' here")


class _Section:
    """A table of the document, with values checked for their type."""

    def __init__(self, source: str, document: dict[str, Any], *names: str) -> None:
        self._where = f"{source}: [{'.'.join(names)}]"
        self._table = document
        for name in names:
            self._table = self._table.get(name, {})

    def text(self, key: str, default: str) -> str:
        return str(self._get(key, default, str))

    def number(self, key: str, default: int) -> int:
        return int(self._get(key, default, int))

    def flag(self, key: str) -> bool:
        return bool(self._get(key, False, bool))

    def words(self, key: str) -> tuple[str, ...]:
        return tuple(str(word) for word in self._get(key, [], list))

    def _get(self, key: str, default: Any, kind: type) -> Any:
        value = self._table.get(key, default)
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            found = type(value).__name__
            raise ConfigError(f"{self._where} {key}: expected {kind.__name__}, found {found}")
        return value
