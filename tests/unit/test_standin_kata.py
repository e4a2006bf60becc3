"""kata's stand-in on the host, as far as it can be tested without root and without a machine."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest

from vlab.standins.kata.agent import network as guest_network
from vlab.standins.kata.runtime import (
    config,
    kata_runtime,
    network,
    qemu,
    release,
    supervisor,
    vfio,
)
from vlab.standins.kata.runtime.log import Log
from vlab.standins.kata.runtime.machine import Machine, MachineError, Unanswered

ROOT = Path(__file__).resolve().parents[2]


# configuration.toml


@pytest.fixture
def settings(tmp_path: Path) -> Path:
    """A configuration.toml whose files exist; tests append to [hypervisor.qemu]."""
    lines = ["[hypervisor.qemu]"]
    for key in ("path", "kernel", "image", "virtio_fs_daemon"):
        (tmp_path / key).write_bytes(b"")
        lines.append(f'{key} = "{tmp_path / key}"')
    path = tmp_path / "configuration.toml"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def add(path: Path, *lines: str) -> str:
    with path.open("a", encoding="utf-8") as file:
        file.write("\n".join(lines) + "\n")
    return str(path)


def test_defaults_are_katas(settings: Path) -> None:
    loaded = config.load(str(settings))
    assert loaded.default_memory == 2048
    assert loaded.default_vcpus == 1
    assert (loaded.cold_plug_vfio, loaded.hot_plug_vfio) == ("no-port", "no-port")
    assert loaded.vfio_port == ""
    assert loaded.guest_hook_path == ""
    assert loaded.dial_timeout == 45
    assert config.load(add(settings, "default_memory = 255")).default_memory == 2048


def test_configuration_is_found_where_kata_looks(
    settings: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KATA_CONF_FILE", str(settings))
    assert config.load().source == str(settings)
    monkeypatch.setenv("KATA_CONF_FILE", "/nowhere.toml")
    with pytest.raises(config.ConfigError, match=r"file /nowhere\.toml does not exist"):
        config.load()
    assert config.installed() == config.ETC, "kata-runtime itself does not look at the variable"


def test_links_are_followed_and_drop_ins_count_in_their_order(
    settings: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "config.d"
    folder.mkdir()
    (folder / "50-more.toml").write_text("[hypervisor.qemu]\ndefault_memory = 4096\n", "ascii")
    (folder / "60-off.toml").write_text("[runtime]\nenable_debug = false\n", "ascii")
    add(settings, "default_memory = 1536", "[runtime]", "enable_debug = true")
    (tmp_path / "elsewhere").mkdir()
    link = tmp_path / "elsewhere/configuration.toml"
    link.symlink_to(settings)
    loaded = config.load(str(link))
    assert (loaded.source, loaded.default_memory) == (str(settings), 4096)
    assert loaded.runtime_debug is False
    assert loaded.image == str(tmp_path / "image")


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (['cold_plug_vfio = "x"'], "invalid vfio_port=<unknown PCIePort: x> setting, allowed"),
        (
            ['cold_plug_vfio = "root-port"', 'hot_plug_vfio = "root-port"'],
            "invalid hot-plug=root-port and cold-plug=root-port settings",
        ),
        (['default_memory = "much"'], "default_memory: expected int, found str"),
        (["default_vcpus = true"], "default_vcpus: expected int, found bool"),
        (['shared_fs = "virtio-9p"'], "has virtio-fs only"),
        (["image ="], "Invalid value"),
    ],
)
def test_bad_configuration_is_one_sentence(settings: Path, lines: list[str], said: str) -> None:
    with pytest.raises(config.ConfigError, match=said):
        config.load(add(settings, *lines))


def test_a_missing_image_is_named(settings: Path) -> None:
    (settings.parent / "image").unlink()
    with pytest.raises(config.ConfigError, match=r"toml: file .*/image does not exist"):
        config.load(str(settings))


def test_the_configuration_that_is_shipped_sets_nothing_for_passthrough() -> None:
    import tomllib

    document = tomllib.loads((ROOT / "vlab/standins/kata/configuration.toml").read_text("utf-8"))
    section = document["hypervisor"]["qemu"]
    assert not {"guest_hook_path", "cold_plug_vfio", "hot_plug_vfio"} & set(section)
    assert section["default_memory"] == 2048


# VFIO


def function(folder: Path, number: str, *, size: int = 4096) -> None:
    """A PCI function in sysfs, with so many bytes of configuration."""
    folder.mkdir(parents=True)
    for name, text in (("class", number), ("vendor", "0x10de"), ("device", "0x20f1")):
        (folder / name).write_text(text + "\n", encoding="ascii")
    (folder / "config").write_bytes(bytes(size))


@pytest.fixture
def groups(tmp_path: Path) -> str:
    """IOMMU group 3: a GPU, its audio function, and the bridge that they are behind."""
    function(tmp_path / "3/devices/0000:01:00.0", "0x030200")
    function(tmp_path / "3/devices/0000:01:00.1", "0x040300")
    function(tmp_path / "3/devices/0000:00:01.0", "0x060400")
    return str(tmp_path)


def spec_with(*paths: str) -> dict[str, Any]:
    return {"linux": {"devices": [{"path": path, "type": "c"} for path in paths]}}


def test_every_member_of_a_group_but_bridges_counts(groups: str) -> None:
    found = vfio.plan(spec_with("/dev/vfio/vfio", "/dev/vfio/3", "/dev/fuse"), "root-port", groups)
    assert [device.address for device in found] == ["0000:01:00.0", "0000:01:00.1"]


def test_every_group_counts_once_in_the_order_asked_for(groups: str) -> None:
    function(Path(groups) / "5/devices/0000:02:00.0", "0x030200")
    asked = ("/dev/vfio/5", "/dev/vfio/3", "/dev/vfio/5")
    found = vfio.plan(spec_with(*asked), "root-port", groups)
    assert [(device.group, device.address) for device in found] == [
        ("5", "0000:02:00.0"),
        ("3", "0000:01:00.0"),
        ("3", "0000:01:00.1"),
    ]


def test_more_devices_than_root_ports_are_refused(groups: str) -> None:
    for number in range(17):
        function(Path(groups) / f"7/devices/0000:03:{number:02x}.0", "0x030200")
    with pytest.raises(vfio.VfioError, match="17 devices exceed the allowed 16"):
        vfio.plan(spec_with("/dev/vfio/7"), "root-port", groups)


def test_without_a_port_a_device_is_refused_in_katas_words(groups: str) -> None:
    with pytest.raises(
        vfio.VfioError,
        match=r"cold_plug_vfio= or hot_plug_vfio= port is not set for device 0000:01:00\.0",
    ):
        vfio.plan(spec_with("/dev/vfio/3"), "", groups)
    assert vfio.plan(spec_with(), "", groups) == []


def test_a_group_that_is_not_there_is_refused(groups: str) -> None:
    with pytest.raises(vfio.VfioError, match="/dev/vfio/9 names an IOMMU group"):
        vfio.plan(spec_with("/dev/vfio/9"), "root-port", groups)


# QEMU


def machine(settings: Path, **changes: Any) -> tuple[config.Config, qemu.Plan]:
    plan = qemu.Plan(
        name="c1",
        cid=7,
        shared="/s",
        devices=[],
        cards=[],
        kvm=True,
        vhost_net=True,
        release=release.RELEASES["CC-0.8.0"],
    )
    return config.load(str(settings)), plan._replace(**changes)


def pairs(words: list[str], flag: str) -> list[str]:
    return [value for name, value in itertools.pairwise(words) if name == flag]


def plugged(settings: Path, devices: list[vfio.Device]) -> list[str]:
    words = qemu.command(*machine(settings, devices=devices))
    return [word for word in pairs(words, "-device") if "root-port" in word or "vfio" in word]


def test_the_first_of_each_group_is_plugged_behind_the_port_that_was_counted_for_it(
    settings: Path, groups: str
) -> None:
    function(Path(groups) / "5/devices/0000:02:00.0", "0x030200")
    devices = vfio.plan(spec_with("/dev/vfio/3", "/dev/vfio/5"), "root-port", groups)
    *ports, gpu, other = plugged(settings, devices)
    assert [port.split(",")[1] for port in ports] == ["id=rp0", "id=rp1", "id=rp2"]
    assert len({port.split("slot=")[1] for port in ports}) == 3
    assert gpu == "vfio-pci,host=0000:01:00.0,bus=rp0"
    assert other == "vfio-pci,host=0000:02:00.0,bus=rp2"


def test_a_conventional_function_is_behind_no_port(settings: Path, tmp_path: Path) -> None:
    function(tmp_path / "4/devices/0000:00:10.0", "0x038000", size=256)
    devices = vfio.plan(spec_with("/dev/vfio/4"), "root-port", str(tmp_path))
    assert plugged(settings, devices) == ["vfio-pci,host=0000:00:10.0"]


def test_without_devices_there_is_no_vfio(settings: Path) -> None:
    words = qemu.command(*machine(settings))
    assert "vfio" not in " ".join(words)
    assert "-netdev" not in words


def test_the_image_is_never_written(settings: Path) -> None:
    (drive,) = pairs(qemu.command(*machine(settings)), "-drive")
    assert "readonly=on" in drive
    assert f"file={settings.parent / 'image'}" in drive


def test_memory_and_processor_follow_the_configuration(settings: Path) -> None:
    add(settings, "default_memory = 1536", "default_vcpus = 2")
    words = qemu.command(*machine(settings))
    assert pairs(words, "-m")[0].startswith("1536M,slots=10,maxmem=")
    assert pairs(words, "-smp") == ["2"]
    assert pairs(words, "-cpu") == ["host"]
    assert pairs(qemu.command(*machine(settings, kvm=False)), "-cpu") == ["max"]


def test_memory_comes_in_huge_pages_where_that_is_asked_for(settings: Path) -> None:
    """As kata's own QEMU gets them: from hugetlbfs, shared with virtiofsd, all at once."""
    add(settings, "default_memory = 1536")
    plain = "memory-backend-memfd,id=dimm1,size=1536M,share=on"
    assert plain in pairs(qemu.command(*machine(settings)), "-object")
    add(settings, "enable_hugepages = true")
    asked = "mem-path=/dev/hugepages,prealloc=on,id=dimm1,size=1536M,share=on"
    assert f"memory-backend-file,{asked}" in pairs(qemu.command(*machine(settings)), "-object")


def test_root_is_a_partition_where_the_image_has_some(settings: Path) -> None:
    image = settings.parent / "image"
    image.write_bytes(bytes(2048))
    assert qemu.root_device(str(image)) == "/dev/vda1"
    image.write_bytes(bytes(1080) + b"\x53\xef" + bytes(100))
    assert qemu.root_device(str(image)) == "/dev/vda"


def test_an_initrd_beside_the_kernel_is_used(settings: Path) -> None:
    assert "-initrd" not in qemu.command(*machine(settings))
    beside = settings.parent / "kernel.initrd"
    beside.write_bytes(b"")
    assert pairs(qemu.command(*machine(settings)), "-initrd") == [str(beside)]


def failure(
    settings: Path, folder: Path, words: str, log: Log | None = None, version: str = "CC-0.8.0"
) -> MachineError:
    """How a machine fails whose QEMU does no more than these words of a shell."""
    (folder / "path").write_text(f"#!/bin/sh\n{words}; exit 1\n", "ascii")
    (folder / "path").chmod(0o755)
    loaded, plan = machine(settings, release=release.RELEASES[version])
    failed = Machine(loaded, log or Log("c1"), str(folder))
    failed.boot(plan)
    with pytest.raises(MachineError) as caught:
        failed.wait_for_agent()
    failed.stop()
    return caught.value


def test_an_end_before_the_monitor_is_never_heard_of(settings: Path, tmp_path: Path) -> None:
    assert isinstance(failure(settings, tmp_path, "echo 'invalid value' >&2"), Unanswered)


def test_a_hook_has_katas_time_and_more_on_a_slow_machine() -> None:
    assert supervisor.hook_timeout(1.5) == supervisor.hook_timeout(20) == 10
    assert supervisor.hook_timeout(90) == 45


# Network

LINKS = [
    {"ifname": "lo", "link_type": "loopback", "address": "00:00:00:00:00:00", "mtu": 65536},
    {
        "ifname": "eth0",
        "link_type": "ether",
        "address": "9e:62:2a:e4:c4:77",
        "mtu": 1500,
        "addr_info": [
            {"local": "10.88.0.2", "prefixlen": 16, "scope": "global"},
            {"local": "fe80::1", "prefixlen": 64, "scope": "link"},
        ],
    },
]
ROUTES = [
    {"dst": "default", "gateway": "10.88.0.1", "dev": "eth0"},
    {"dst": "10.88.0.0/16", "dev": "eth0", "protocol": "kernel", "scope": "link"},
    {"dst": "10.99.0.1", "dev": "eth0", "scope": "link"},
]


def test_the_guest_gets_mac_addresses_and_routes_of_the_namespace() -> None:
    (found,) = network.interfaces(LINKS, ROUTES)
    assert found["mac"] == "9e:62:2a:e4:c4:77"
    assert found["addresses"] == ["10.88.0.2/16"]
    assert guest_network.commands(found, "enp0s5") == [
        "link set dev enp0s5 down",
        "link set dev enp0s5 name eth0",
        "link set dev eth0 mtu 1500 up",
        "address add 10.88.0.2/16 dev eth0",
        "route replace 10.99.0.1 dev eth0 scope link",
        "route replace default via 10.88.0.1 dev eth0",
    ]


def test_removal_names_tap_and_filter() -> None:
    assert network.removal(network.interfaces(LINKS, ROUTES)) == [
        ["ip", "link", "delete", "dev", "tap0_kata"],
        ["tc", "qdisc", "delete", "dev", "eth0", "ingress"],
    ]


# kata-runtime


def test_check_names_what_is_missing(tmp_path: Path) -> None:
    for name in ("kvm", "vhost", "vhost_net"):
        (tmp_path / name).mkdir()
    vsock, kvm = kata_runtime.problems(str(tmp_path), kvm=False)
    assert 'level=error msg="kernel property vhost_vsock not found"' in vsock
    assert "cannot create a virtual machine with /dev/kvm" in kvm


def test_the_release_is_the_guides_unless_the_kernel_was_told_another(tmp_path: Path) -> None:
    line = tmp_path / "cmdline"
    line.write_text("root=/dev/vda rw quiet\n", "ascii")
    assert release.of_host(str(line)) == release.RELEASES["CC-0.8.0"]
    line.write_text("root=/dev/vda standin.kata=3.15.0 quiet\n", "ascii")
    assert release.of_host(str(line)) == release.RELEASES["3.15.0"]
