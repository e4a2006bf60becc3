"""platform: what a host lacks is found as missing, and never an error: the suite judges it."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from fixtures.common import capacity, preflight
from fixtures.gpu import vfio
from fixtures.guide import clauses
from fixtures.platform import virtcca
from harness.host.command import CommandFailed
from harness.run.stage import StageFailed
from tests.unit.replay import ReplayHost
from tests.unit.stages.conftest import MakeLab
from tests.unit.stages.lab import Lab, record

FACTS = record().facts["platform"]
PROFILE = record().profile
WORK = PROFILE["guest"]["work_image"]
TAG = f"docker.io/library/{PROFILE['image']['tag']}"
GIB = 1 << 30
LOOKS = "found=nothing"
SEEN = "printf 'hostname"  # what a report shows of the machine; its words name each GPU

# What a command says, and what the facts then are.
MISSING = [
    (
        ("docker version",),
        {"status": 1, "err": "Cannot connect to the Docker daemon\n"},
        {"docker": None, "docker_says": "Cannot connect to the Docker daemon"},
    ),
    (("docker version",), {"out": "dev\n"}, {"docker": None, "docker_says": "dev"}),
    (
        ("ctr version",),
        {"status": 1, "err": "connection refused\n"},
        {"containerd": None, "containerd_says": "connection refused"},
    ),
    (
        ("kata-runtime check",),
        {"status": 1, "err": "CPU property not found: Virtualization support\n"},
        {"kata_check": (1, "CPU property not found: Virtualization support")},
    ),
    (
        ("kata-runtime check",),
        {"status": 127, "err": "timeout: failed to run command 'kata-runtime': No such file\n"},
        {"kata_check": (127, "there is no program 'kata-runtime'")},
    ),
    (("cd /sys/kernel/iommu_groups",), {"out": ""}, {"iommu_groups": 0, "iommu_domains": {}}),
    (("ls /sys/class/iommu",), {"out": ""}, {"iommu_units": ()}),
    (("containerd-shim-kata-v2",), {"out": "\n"}, {"kata_shim": None}),
    (("for d in /sys/bus/pci/devices",), {"out": ""}, {"gpus": (), "pci_functions": 0}),
    (("cat -- /proc/meminfo",), {"out": "MemTotal: 1 kB\n"}, {"memory_available": 0}),
    (
        ("/proc/config.gz",),
        {"out": "CONFIG_VFIO=y\nCONFIG_VFIO_PCI=m\n"},
        {
            "kernel_options": {
                "CONFIG_VFIO": "y",
                "CONFIG_VFIO_IOMMU_TYPE1": "n",
                "CONFIG_VFIO_PCI": "m",
            }
        },
    ),
]


@pytest.mark.parametrize(("texts", "reply", "facts"), MISSING)
def test_what_is_missing_is_told_as_missing(
    lab: Lab, texts: tuple[str, ...], reply: dict[str, object], facts: dict[str, object]
) -> None:
    lab.host.reply(*texts, **reply)  # type: ignore[arg-type]
    lab.host.spare(SEEN)
    found = lab.bring("platform")
    assert {name: getattr(found, name) for name in facts} == facts


def test_nothing_is_changed(lab: Lab) -> None:
    lab.bring("platform")
    assert not lab.journal()
    assert not lab.host.written


@pytest.mark.case(
    "kata",
    "'kata-runtime check' loads the modules that it asks for",
    source="kata-containers CC-0.8.0 and 3.15.0, kata-check.go",
)
def test_modules_that_katas_own_check_loads_go_again(lab: Lab) -> None:
    lab.host.reply("cat /proc/modules", out="kvm 1 0 - Live 0x0\ntun 1 0 - Live 0x0\n")
    lab.bring("platform")
    [entry] = lab.run.journal.entries
    assert entry.what.startswith("modules vhost_net, vhost_vsock, ")
    assert "vhost_vsock" in entry.undo[0]
    assert "tun" not in entry.undo[0]


def test_a_card_of_another_vendor_is_no_gpu(make_lab: MakeLab) -> None:
    lab = make_lab(settings={"gpu": {"vendor": "10de"}})
    lab.host.reply(SEEN)
    found = lab.bring("platform")
    assert (found.gpus, found.pci_functions) == ((), FACTS["pci_functions"])


def room(lab: Lab) -> capacity.Room:
    """The one file system of the lab."""
    [room] = lab.bring("platform").disk
    assert isinstance(room, capacity.Room)
    return room


def test_a_full_disk_is_short_of_room(lab: Lab) -> None:
    lab.host.reply("df --output=avail,target", out="1073741824 /\n")
    found = room(lab)
    assert found.short
    assert str(found).startswith("/: 1.0 GiB free, 4.1 GiB needed for the enlarged guest image")


def test_what_an_earlier_run_has_left_needs_no_more_room(make_lab: MakeLab) -> None:
    images = PROFILE["platform"]["space"]
    lab = make_lab()
    lab.host.reply('[ -e "$1" ] ||', WORK)
    assert room(lab).needed == (len(images) + 1) * GIB  # both stores, and the archive
    lab = make_lab()
    lab.host.reply("ctr image ls --quiet", out=f"{TAG}\n")
    assert room(lab).needed == FACTS["disk"][0]["needed"] - (len(images) + 1) * GIB
    lab = make_lab()
    lab.host.reply('[ -e "$1" ] ||', WORK)
    lab.host.reply("ctr image ls --quiet", out=f"{TAG}\n")
    assert lab.bring("platform").disk == ()


def test_each_file_system_has_its_own_needs(lab: Lab) -> None:
    lab.host.reply(
        "df --output=avail,target", "/var/lib/docker", out="5000000000 /var/lib/docker\n"
    )
    lab.host.reply("df --output=avail,target", "/var/lib/containerd", out="10 /mnt/with space\n")
    rooms = {room.path: room for room in lab.bring("platform").disk}
    assert rooms["/var/lib/docker"].needed == GIB
    assert not rooms["/var/lib/docker"].short
    assert rooms["/mnt/with space"].short
    assert "the enlarged guest image" in rooms["/"].use


def test_a_size_of_what_is_not_there(ready: Lab) -> None:
    ready.host.reply("stat -L -c %s", "/nowhere", status=1, err="No such file or directory")
    assert capacity.file_size(ready.host, "/nowhere") == 0


# A Kunpeng host was never at hand: these lines are as its kernel's sources print them.
SMMU = "arm-smmu-v3 arm-smmu-v3.0.auto: S_SMMU: secure smmu id:1 init end!"
BAD = "arm-smmu-v3 arm-smmu-v3.1.auto: does not implement secure state"
TMM = "virtcca_cvm: TMM feature0: 0x1234"


def has_virtcca(host: ReplayHost, smmu: str = SMMU) -> None:
    """The replies of a host with virtCCA."""
    host.reply("TMM feature0", out=f"{TMM}\n{smmu}\n{BAD}\n")
    host.reply("getconf PAGESIZE", out="4096\n")
    host.reply("modprobe --showconfig", out='vfio_pci disable_idle_d3=1 ids="10de:1 10de:2"\n')


def test_virtcca_is_read_from_the_kernels_messages_and_from_kvm(make_lab: MakeLab) -> None:
    lab = make_lab(settings={"platform": {"tee": {"kind": "virtcca"}}})
    has_virtcca(lab.host)
    lab.host.reply("/dev/kvm", out="1\n")
    tee = lab.bring("platform").tee
    assert (tee.page_size, tee.kvm, tee.kvm_says) == (4096, 1, "")
    assert (tee.tmm, tee.secure_smmus, tee.smmu_errors) == ((TMM,), (SMMU,), (BAD,))
    assert tee.module_options[0] == "vfio_pci.disable_idle_d3=1"
    assert tee.names_devices


@pytest.mark.case(
    "kernel",
    "another spelling of the secure SMMU's message",
    source="openEuler kernel, arm-s-smmu-v3.c of the first virtCCA kernels",
)
def test_the_first_kernels_with_virtcca_name_no_device(make_lab: MakeLab) -> None:
    lab = make_lab(settings={"platform": {"tee": {"kind": "virtcca"}}})
    first = "SMMUv3: Secure smmu id:1 init end!"
    has_virtcca(lab.host, first)
    lab.host.reply("/dev/kvm", out="1\n")
    tee = lab.bring("platform").tee
    assert tee.secure_smmus == (first,)
    assert not tee.names_devices


def test_a_kvm_that_does_not_answer_is_quoted(make_lab: MakeLab) -> None:
    lab = make_lab(settings={"platform": {"tee": {"kind": "virtcca"}}})
    has_virtcca(lab.host)
    says = "Traceback (most recent call last):\nFileNotFoundError: [Errno 2] '/dev/kvm'\n"
    lab.host.reply("0xAE03", status=1, err=says)
    tee = lab.bring("platform").tee
    assert (tee.kvm, tee.kvm_says) == (None, "FileNotFoundError: [Errno 2] '/dev/kvm'")


def test_a_host_that_does_not_even_tell_its_kernel_is_an_error(lab: Lab) -> None:
    lab.host.reply("uname -m", status=127, err="not found\n")
    with pytest.raises(StageFailed, match="Stage 'platform' failed: Command 'uname -m'") as caught:
        lab.bring("platform")
    assert isinstance(caught.value.__cause__, CommandFailed)


def test_evidence_is_registered_for_every_later_failure(lab: Lab) -> None:
    lab.bring("platform")
    lab.host.reply("dmesg", out="[    1.0] one\n")
    for command in ("journalctl", "lspci -nnk", "findmnt", "ps -eo"):
        lab.host.reply(command, status=1, err="not here")
    folder = lab.run.evidence.collect("suites/test_x.py::test_y")
    assert folder is not None
    texts = {path.stem: path.read_text() for path in folder.iterdir()}
    assert texts["dmesg"] == "[    1.0] one\n"
    assert texts["lspci"] == "not here"  # however a command ends, what it said is kept


def test_a_boot_parameter_with_another_value_is_missing() -> None:
    line = "root=/dev/vda virtcca_cvm_host=0 arm_smmu_v3.disable_ecmdq=1"
    wanted = ("virtcca_cvm_host=1", "arm_smmu_v3.disable_ecmdq=1")
    assert virtcca.missing_parameters(line, wanted) == ["virtcca_cvm_host=1"]


DUMP = 'version = 2\n\n[debug]\n  address = ""\n  level = "debug"\n\n[grpc]\n  level = "x"\n'


@pytest.mark.case(
    "containerd, docker",
    "the log level by an option, by the configuration, or by default",
    source="containerd 1.6.20 and 1.7.24, cmd/containerd/command/main.go",
)
@pytest.mark.parametrize(
    ("words", "dump", "level"),
    [
        (["containerd"], DUMP, "debug"),
        (["containerd", "-c", "/etc/c.toml"], DUMP, "debug"),
        (["containerd"], "version = 2\n[debug]\n", "info"),
        (["containerd"], "no TOML", "info"),
        (["containerd", "--log-level=warn"], None, "warn"),
        (["containerd", "--config", "/x", "-l", "debug"], None, "debug"),
    ],
)
def test_containerds_level_is_what_its_options_then_its_configuration_say(
    lab: Lab, words: list[str], dump: str | None, level: str
) -> None:
    lines = ["program /usr/bin/containerd", *(f"word {word}" for word in words), "kata /k.toml"]
    lab.host.reply("KATA_CONF_FILE", out="\n".join(lines))
    if dump is not None:
        options = ["--config", words[2]] if len(words) > 2 else []
        lab.host.reply(" ".join(["/usr/bin/containerd", *options, "config dump"]), out=dump)
    found = lab.bring("platform")
    assert (found.containerd_level, found.kata_conf_file) == (level, "/k.toml")


def test_a_containerd_that_does_not_run_has_no_level(lab: Lab) -> None:
    lab.host.reply("KATA_CONF_FILE", out="")
    assert lab.bring("platform").containerd_level == ""


def test_the_shim_is_asked_what_it_is(lab: Lab) -> None:
    says = "Kata Containers containerd shim (Rust): id: io.containerd.kata.v2, version: 4.1.0"
    lab.host.reply("containerd-shim-kata-v2 --version", out=f"{says}\n")
    assert lab.bring("platform").kata_shim_says == says


GUEST, NETWORK = PROFILE["guest"], PROFILE["network"]
# The first bytes of a program for aarch64 (ELF-64 object file format, e_machine is 183).
AARCH64 = f"\x7fELF\2\1\1{9 * chr(0)}\2\0\udcb7\0{44 * chr(0)}"

# What is otherwise on the host; the stage that would fail for it, and what is said of it.
FORESEEN: list[tuple[tuple[str, ...], dict[str, Any], str, str, str]] = [
    (
        (LOOKS, GUEST["driver"]),
        {"out": f"{GUEST['driver']}\tnothing\n"},
        *("rootfs", f"guest.driver of the profile needs a file {GUEST['driver']}", "rootfs.driver"),
    ),
    (
        (LOOKS, GUEST["base_image"]),
        {"out": f"{GUEST['base_image']}\ta folder\n"},
        *("rootfs", "and there is a folder", "rootfs.layout"),
    ),
    (
        ('[ -e "$1" ] ||', WORK),
        {},
        *("rootfs", f"{WORK} is there, and no run of ours has made it", "rootfs.resize"),
    ),
    (
        (LOOKS, PROFILE["kata"]["configuration"]),
        {"out": f"{PROFILE['kata']['configuration']}\tnothing\n"},
        *("kata", "kata.configuration of the profile needs a file", "kata.configuration"),
    ),
    (
        ("docker buildx version",),
        {"status": 1, "err": "docker: 'buildx' is not a docker command.\n"},
        *("image", "docker has no buildx", "image.buildx"),
    ),
    (
        (f"docker image inspect {PROFILE['image']['tag']}",),
        {"out": '[{"Id": "sha256:0"}]'},
        *("image", "that no run of ours has made", "image.build"),
    ),
    (
        ("modprobe --show-depends",),
        {"out": "vfio_iommu_type1\tinstall /bin/false \n"},
        *("gpu", "module vfio_iommu_type1 is not loaded", "platform.kernel-options"),
    ),
    (
        ("ip -j route show table all",),
        {"out": f'[{{"dst": "{NETWORK["subnet"]}", "dev": "wg0"}}]'},
        *("network", f"subnet {NETWORK['subnet']} is in use", "network.conf"),
    ),
    (
        ("ip -j link show",),
        {"out": f'[{{"ifname": "{NETWORK["bridge"]}", "address": ""}}]'},
        *("network", f"there is already an interface '{NETWORK['bridge']}'", "network.conf"),
    ),
    (
        ('[ -e "$1" ] ||', f"/var/run/netns/{NETWORK['name']}"),
        {},
        *("network", "there is already a network namespace", "network.netns"),
    ),
    (
        ('head -c "$2"', "/scripts/mod/modpost"),
        {},
        *("rootfs", "/scripts/mod/modpost is not there", "rootfs.kernel-tree"),
    ),
    (
        ('head -c "$2"', "/scripts/basic/fixdep"),
        {"out": AARCH64},
        *("rootfs", "/scripts/basic/fixdep is for EM_AARCH64, expected is a", "rootfs.kernel-tree"),
    ),
    (
        ('head -c "$2"', "/bridge"),
        {},
        *("network", "there is no CNI plugin", "network.plugins"),
    ),
]


@pytest.mark.parametrize(("texts", "reply", "stage", "says", "clause"), FORESEEN)
def test_what_a_stage_would_fail_for_is_foreseen(
    lab: Lab, texts: tuple[str, ...], reply: dict[str, Any], stage: str, says: str, clause: str
) -> None:
    lab.host.reply(*texts, **reply)
    [found] = [one for one in lab.bring("platform").foreseen if says in one.says]
    assert (found.stage, found.clause) == (stage, clause)
    assert found.advice
    assert clause in clauses.load().by_id
    assert not lab.journal()


def test_a_context_at_another_commit_and_a_mount_of_nothing_are_foreseen(
    make_lab: MakeLab,
) -> None:
    mount = "type=bind,src=/srv/models,dst=/models,options=rbind:ro"
    lab = make_lab(
        settings={"image": {"commit": "a" * 40}, "container": {"mounts": [mount]}},
    )
    lab.host.reply(LOOKS, "something /srv/models", out="/srv/models\tnothing\n")
    found = {one.stage: one.says for one in lab.bring("platform").foreseen}
    assert "is at commit none, and image.commit is aaaa" in found["image"]
    assert "container.mounts of the profile needs something /srv/models" in found["container"]


def test_a_file_of_this_machine_is_looked_at_as_well(make_lab: MakeLab, tmp_path: Path) -> None:
    (tmp_path / "cnitool").write_bytes(b"another")
    asset = {"source": str(tmp_path / "cnitool"), "sha256": "0" * 64}
    lab = make_lab(settings={"network": {"cnitool": asset}})
    for script in ("sha256sum -- ", 'head -c "$2"'):
        lab.host.reply(script, f"cnitool-{'0' * 16}/cnitool")  # it is not there yet
    [found] = lab.bring("platform").foreseen
    assert "is not what was expected" in found.says


def test_all_is_foreseen_at_once(lab: Lab) -> None:
    lab.host.reply(LOOKS, GUEST["driver"], out=f"{GUEST['driver']}\tnothing\n")
    lab.host.reply('[ -e "$1" ] ||', WORK)
    lab.host.reply("modprobe --show-depends", out="vfio-pci\tFATAL: not found\n")
    assert [one.stage for one in lab.bring("platform").foreseen] == ["gpu", "rootfs", "rootfs"]


def test_a_shared_memory_that_is_too_small_is_foreseen(lab: Lab) -> None:
    lab.host.reply("cat --", PROFILE["kata"]["configuration"], out="[hypervisor.qemu]\n")
    lab.host.reply("df --output=avail,target", "/dev/shm", out="1048576 /dev/shm\n")
    [found] = lab.bring("platform").foreseen
    assert (found.stage, found.clause) == ("kata", "kata.memory")
    assert found.says.startswith("too little room: /dev/shm: 0.0 GiB free")


def test_a_stage_without_its_programs_is_not_asked(lab: Lab) -> None:
    lab.host.without = {"modinfo"}
    lab.bring("platform")
    assert not [words for words in lab.host.asked if GUEST["driver"] in words and "a file" in words]


def test_where_nothing_is_made_nothing_is_foreseen(make_lab: MakeLab) -> None:
    assert make_lab(provision="never").bring("platform").foreseen == ()


def sh(script: str, *words: str, path: str = "/usr/sbin:/usr/bin:/sbin:/bin") -> str:
    """What a script of ours prints on this machine."""
    command = ["sh", "-euc", script, "sh", *words]
    said = subprocess.run(command, env={"PATH": path}, capture_output=True, text=True, check=True)
    return said.stdout


def test_what_is_at_a_path_is_told_where_it_is_not_as_wanted(tmp_path: Path) -> None:
    (tmp_path / "a file").write_text("")
    (tmp_path / "folder").mkdir()
    file, folder, none = (str(tmp_path / name) for name in ("a file", "folder", "none"))
    good = ["a file", file, "a folder", folder, "something", file, "something", folder]
    assert sh(preflight.LOOK, *good) == ""
    wrong = ["a file", folder, "a folder", file, "something", none, "a file", "/dev/null"]
    assert sh(preflight.LOOK, *wrong).splitlines() == [
        f"{folder}\ta folder",
        f"{file}\ta file",
        f"{none}\tnothing",
        "/dev/null\tno file, but something else",
    ]


# As kmod 30 prints it.
@pytest.mark.parametrize(
    ("says", "status", "told"),
    [
        ("insmod /lib/modules/6/vfio.ko \ninsmod /lib/modules/6/m.ko ", 0, ""),
        ("builtin m", 0, ""),
        ("insmod /lib/modules/6/vfio.ko \ninstall /bin/false ", 0, "install /bin/false "),
        ("install modprobe --ignore-install m && echo m ", 0, ""),
        ("modprobe: FATAL: Module m not found in directory /lib/modules/6", 1, "modprobe: FATAL"),
    ],
)
def test_a_module_that_modprobe_would_not_load_is_told(
    tmp_path: Path, says: str, status: int, told: str
) -> None:
    modprobe = tmp_path / "modprobe"
    modprobe.write_text(f"#!/bin/sh\ncat <<'END'\n{says}\nEND\nexit {status}\n")
    modprobe.chmod(0o755)
    found = sh(vfio.UNLOADABLE, "no_such_module", path=f"{tmp_path}:/usr/bin:/bin")
    assert found.startswith(f"no_such_module\t{told}") if told else not found
