"""configuration.toml, read as kata reads it.

Real: the files' places and precedence, drop-ins, the keys below with kata's defaults and kata's
refusals.
Not real: keys that are not listed here are accepted and have no effect; annotations are not looked
at.
"""

import os
import tomllib
from typing import Any, NamedTuple

ETC = "/etc/kata-containers/configuration.toml"
DEFAULTS = "/usr/share/defaults/kata-containers/configuration.toml"
NO_PORT = "no-port"
_PORTS = (NO_PORT, "bridge-port", "root-port", "switch-port")
_SHARED_FS = "virtio-fs"
_MEMORY, _LEAST_MEMORY = 2048, 256  # MiB; of less than that kata makes the former, without a word


class ConfigError(Exception):
    """configuration.toml cannot be used; the text says why."""


class Config(NamedTuple):
    """What the stand-in takes from configuration.toml; memory in MiB, timeouts in seconds.

    Paths have their links resolved, ``source`` that of the file itself.
    """

    source: str
    path: str
    kernel: str
    image: str
    initrd: str
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
    def modules(self) -> str:
        """Debian's kernel has its drivers as modules: an initrd beside it, if there is one."""
        beside = f"{self.kernel}.initrd"
        return beside if os.path.exists(beside) else ""


def installed() -> str:
    """The file that kata-runtime reads: in /etc, then in /usr/share/defaults."""
    return next((path for path in (ETC, DEFAULTS) if os.path.exists(path)), ETC)


def load(path: str | None = None) -> Config:
    """Read and check a configuration and its drop-ins; ConfigError names the file and the key.

    Without a ``path`` it is the shim's, which looks at KATA_CONF_FILE first.
    """
    source = os.path.realpath(path or os.environ.get("KATA_CONF_FILE") or installed())
    document: dict[str, Any] = {}
    for name in (source, *_drop_ins(f"{os.path.dirname(source)}/config.d")):
        _merge(document, _read(name))
    config = _config(source, document)
    _check(config)
    return config


def _drop_ins(folder: str) -> list[str]:
    names = sorted(os.listdir(folder)) if os.path.isdir(folder) else []
    return [f"{folder}/{name}" for name in names if os.path.isfile(f"{folder}/{name}")]


def _read(path: str) -> dict[str, Any]:
    try:
        with open(path, "rb") as file:
            return tomllib.load(file)
    except FileNotFoundError as error:
        raise ConfigError(f"file {path} does not exist") from error
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: {error}") from error


def _merge(into: dict[str, Any], added: dict[str, Any]) -> None:
    for key, value in added.items():
        if isinstance(value, dict) and isinstance(into.get(key), dict):
            _merge(into[key], value)
        else:
            into[key] = value


def _config(source: str, document: dict[str, Any]) -> Config:
    hypervisor = _Section(source, document, "hypervisor", "qemu")
    agent = _Section(source, document, "agent", "kata")
    runtime = _Section(source, document, "runtime")
    vcpus, memory = (hypervisor.number(f"default_{key}", 1) for key in ("vcpus", "memory"))
    return Config(
        source=source,
        path=hypervisor.file("path", "/usr/bin/qemu-system-x86_64"),
        kernel=hypervisor.file("kernel"),
        image=hypervisor.file("image"),
        initrd=hypervisor.file("initrd"),
        kernel_params=hypervisor.text("kernel_params", ""),
        machine_type=hypervisor.text("machine_type", "q35"),
        default_vcpus=(os.cpu_count() or 1) if vcpus < 0 else vcpus or 1,
        default_memory=memory if memory >= _LEAST_MEMORY else _MEMORY,
        enable_hugepages=hypervisor.flag("enable_hugepages"),
        shared_fs=hypervisor.text("shared_fs", _SHARED_FS),
        virtio_fs_daemon=hypervisor.file("virtio_fs_daemon", "/usr/libexec/virtiofsd"),
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
    for value in (config.path, config.kernel, config.image, config.virtio_fs_daemon):
        if not os.path.exists(value):
            raise ConfigError(f"{config.source}: file {value} does not exist")
    for value in (config.cold_plug_vfio, config.hot_plug_vfio):
        if value not in _PORTS:
            raise ConfigError(
                f"invalid vfio_port=<unknown PCIePort: {value}> setting, "
                f"allowed values {', '.join(_PORTS)}"
            )
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

    def file(self, key: str, default: str = "") -> str:
        path = self.text(key, default)
        return os.path.realpath(path) if path else ""

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
