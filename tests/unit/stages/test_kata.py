"""kata: the configuration is edited key by key, read back, and refused where it is not kata's."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import tomlkit

from fixtures.kata.stage import HUGE_PAGES, SHM
from harness.errors import LabError
from harness.run.stage import StageFailed
from tests.unit.stages.lab import Lab, Refusal, about, record

PATH = record().profile["kata"]["configuration"]
WANTED = record().profile["kata"]
CAT = f"cat -- {PATH}"
ENV = "kata-runtime env --json"
NO_SECTION = "[hypervisor.clh]\npath = '/usr/bin/cloud-hypervisor'\n"


def before() -> str:
    """The lab's file before the stage."""
    return record().replies["kata", ("cat", "--", PATH)][0].out


REFUSED = [
    Refusal(
        "no TOML",
        lambda host: host.reply(CAT, out="[hypervisor.qemu\n"),
        (f"{PATH} is not valid TOML", "line 1"),
        "kata itself could not read it",
        "kata.configuration",
    ),
    Refusal(
        "another hypervisor's",
        lambda host: host.reply(CAT, out=NO_SECTION),
        (f"{PATH} has no section [hypervisor.qemu]",),
        "'kata-runtime env' tells",
        "kata.configuration",
    ),
]


@pytest.mark.case(
    "kata",
    "a configuration of another hypervisor",
    source="kata-containers 1.12.0 to 4.1.0, configuration-*.toml",
)
@pytest.mark.parametrize("refusal", REFUSED, ids=about)
def test_a_file_that_is_not_katas_is_refused_and_left_alone(lab: Lab, refusal: Refusal) -> None:
    refusal.of(lab, "kata")
    assert not lab.journal()
    assert not lab.host.written


def test_a_runtime_that_refuses_the_configuration(lab: Lab) -> None:
    says = 'default_memory: invalid value "1536"'
    Refusal(
        "",
        lambda host: host.reply(ENV, status=1, err=says),
        (ENV, says),
        f"refuses {PATH}; it says why",
        "kata.configuration",
    ).of(lab, "kata")


def test_a_runtime_that_prints_no_json(lab: Lab) -> None:
    lab.host.reply(ENV, out="time=now level=warning\n{}")
    with pytest.raises(LabError, match="should have printed JSON") as caught:
        lab.bring("kata")
    assert ENV in caught.value.message
    assert "level=warning" in caught.value.message


def test_a_runtime_of_another_kind(lab: Lab) -> None:
    Refusal(
        "",
        lambda host: host.reply(ENV, out='{"Meta": {"Version": "1.0"}}'),
        ("should have printed JSON, but Runtime: Field required",),
        "that of kata 3",
        "kata.configuration",
    ).of(lab, "kata")


@pytest.mark.case(
    "kata", "a configuration full of comments", source="kata-containers, configuration-qemu.toml"
)
def test_what_the_guide_asks_for_is_set_and_nothing_else_is_touched(lab: Lab) -> None:
    lab.bring("kata")
    old, new = before().splitlines(), lab.host.written[PATH].splitlines()
    qemu = tomlkit.parse(lab.host.written[PATH]).unwrap()["hypervisor"]["qemu"]
    assert qemu["image"] == lab.facts["rootfs"].image
    for key in ("guest_hook_path", "cold_plug_vfio", "default_memory"):
        assert qemu[key] == WANTED[key]
    changed = {line.split(" ")[0] for line in set(old) ^ set(new)}
    assert changed <= {
        *("image", "guest_hook_path", "cold_plug_vfio", "default_memory", "enable_debug"),
        *("", "[agent.kata]", "[runtime]", "[agent]"),  # made where they were not
    }
    comments = [line for line in old if line.startswith("#")]
    assert comments
    assert [line for line in new if line.startswith("#")] == comments


@pytest.mark.finding("F20", "kata's configuration is for all to read while a run has it")
def test_the_file_keeps_its_mode(lab: Lab) -> None:
    lab.host.reply("stat -c %a -- ", PATH, out="600\n")
    lab.host.reply("mktemp", f"sh {PATH} 600 ")
    lab.bring("kata")


def test_the_file_is_kept_before_it_is_written(lab: Lab) -> None:
    lab.bring("kata")
    lines = [" ".join(words) for words in lab.host.asked]
    kept = next(i for i, line in enumerate(lines) if "cp -a --no-dereference" in line)
    journal = next(i for i, line in enumerate(lines) if "truncate -s" in line)
    assert kept < journal < next(i for i, line in enumerate(lines) if "mktemp" in line)


def test_it_is_the_file_that_the_runtime_reads_which_is_read_back(ready: Lab) -> None:
    other = "/opt/kata/configuration.toml"
    ready.host.edit(ENV, old=PATH, new=other)
    ready.host.reply(f"cat -- {other}", out="[hypervisor.qemu]\nimage = '/x'\n")
    ready.host.reply("config.d", other)
    ready.host.reply("df --output=avail,target", SHM, out=f"{1 << 31} {SHM}\n")
    found = ready.bring("kata")
    assert (found.configuration, dict(found.hypervisor)) == (other, {"image": "/x"})


@pytest.mark.parametrize(("status", "out"), [(1, ""), (0, "\n")])
def test_a_kernel_that_tells_no_release(ready: Lab, status: int, out: str) -> None:
    ready.host.reply("HdrS", status=status, out=out)
    assert ready.bring("kata").kernel == ""


def test_with_provision_never_nothing_is_written(ready: Lab) -> None:
    ready.bring("kata")
    assert not ready.host.written
    assert not ready.journal()


def test_what_is_effective_is_what_the_runtime_says(ready: Lab) -> None:
    ready.host.filter(ENV, by=lambda out: json.dumps(json.loads(out) | {"Agent": {"Debug": False}}))
    assert ready.bring("kata").effective["Agent"] == {"Debug": False}


@pytest.mark.case(
    "kata",
    "initrd beside image, hot_plug_vfio beside cold_plug_vfio",
    source="kata-containers 3.15.0, configuration-qemu-nvidia-gpu.toml",
)
def test_what_would_be_refused_beside_ours_is_taken_out(lab: Lab) -> None:
    old = before().replace(
        "[hypervisor.qemu]", '[hypervisor.qemu]\ninitrd = "/i"\nhot_plug_vfio = "root-port"', 1
    )
    lab.host.reply(CAT, out=old)
    lab.bring("kata")
    qemu = tomlkit.parse(lab.host.written[PATH]).unwrap()["hypervisor"]["qemu"]
    assert not {"initrd", "hot_plug_vfio", "disable_image_nvdimm"} & {*qemu}


@pytest.mark.case(
    "kata",
    "the root is found by a second partition table, at 2 MiB",
    source="kata-containers, osbuilder, nsdax.c",
)
def test_an_image_for_nvdimm_is_booted_as_a_disk(lab: Lab) -> None:
    lab.host.reply("NVDIMM_PFN_INFO", status=0)
    lab.bring("kata")
    qemu = tomlkit.parse(lab.host.written[PATH]).unwrap()["hypervisor"]["qemu"]
    assert qemu["disable_image_nvdimm"] is True


@pytest.mark.case(
    "kata",
    "an installed configuration.toml is a link",
    source="kata-containers CC-0.8.0 and 3.15.0, Makefile",
)
def test_of_a_link_the_file_is_changed(lab: Lab) -> None:
    file = "/opt/kata/share/defaults/kata-containers/configuration-qemu.toml"
    lab.host.reply("readlink -f --", PATH, out=f"{file}\n")
    lab.host.reply(f"cat -- {file}", out="[hypervisor.qemu]\n")
    for change in ("cp -a --no-dereference", "mktemp"):
        lab.host.reply(change, file)
    lab.bring("kata")
    assert [*lab.host.written] == [file]


@pytest.mark.case(
    "kata",
    "drop-ins in config.d",
    source="kata-containers CC-0.8.0 and 3.15.0, katautils/config.go",
)
def test_drop_ins_count_after_the_file_in_their_order(ready: Lab) -> None:
    folder = "/etc/kata-containers/config.d"
    ready.host.reply("config.d", out=f"{folder}/10-a\n{folder}/50-b.toml\n")
    ready.host.reply(f"cat -- {folder}/10-a", out="[hypervisor.qemu]\ndefault_memory = 1\n")
    ready.host.reply(f"cat -- {folder}/50-b.toml", out="[hypervisor.qemu]\ndefault_memory = 2\n")
    found = ready.bring("kata")
    assert found.hypervisor["default_memory"] == 2
    assert found.hypervisor["image"] == ready.facts["rootfs"].image
    assert found.drop_ins == (f"{folder}/10-a", f"{folder}/50-b.toml")


@pytest.mark.case(
    "kata",
    "all memory of a guest in /dev/shm, in huge pages, or elsewhere",
    source="kata-containers 3.15.0, virtio-fs",
)
@pytest.mark.parametrize(
    ("setting", "path", "needed"),
    [
        ("", SHM, WANTED["default_memory"] + 512),
        ("enable_hugepages = true", HUGE_PAGES, 2 * WANTED["default_memory"]),
        ('shared_fs = "virtio-9p"', None, 0),
        ('shared_fs = "none"', None, 0),
        ('shared_fs = "virtio-fs-nydus"', SHM, WANTED["default_memory"] + 512),
        ('file_mem_backend = "/srv/memory"', None, 0),
    ],
)
def test_the_guests_memory_is_where_the_configuration_says(
    ready: Lab, setting: str, path: str | None, needed: int
) -> None:
    ready.host.reply(CAT, out=f"[hypervisor.qemu]\n{setting}\n")
    ready.host.spare("df --output=avail,target", SHM, out=f"{1 << 31} {SHM}\n")
    room = ready.bring("kata").shared_memory
    assert (room and room.path) == path
    if room is not None:
        assert room.needed == needed << 20


@pytest.mark.case(
    "kata",
    "KATA_CONF_FILE, which the shim reads and kata-runtime does not",
    source="kata-containers CC-0.8.0 and 3.15.0, containerd-shim-v2/create.go",
)
def test_the_configuration_of_containerds_environment_is_asked_for(ready: Lab) -> None:
    ready.facts["platform"] = replace(ready.facts["platform"], kata_conf_file="/srv/kata.toml")
    out = record().replies["kata", tuple(ENV.split())][0].out
    ready.host.reply("kata-runtime --config /srv/kata.toml env --json", out=out)
    ready.bring("kata")


@pytest.mark.case("kata", "a shim that is the Rust runtime", source="kata-containers 4.1.0")
def test_katas_rust_runtime_is_told_and_nothing_is_done(lab: Lab) -> None:
    says = "Kata Containers containerd shim (Rust): id: io.containerd.kata.v2, version: 4.1.0"
    lab.facts["platform"] = replace(lab.facts["platform"], kata_shim_says=says)
    with pytest.raises(pytest.skip.Exception, match=r"not assessed: .*\(Rust\).* 4\.1\.0"):
        lab.bring("kata")
    assert not lab.host.asked


@pytest.mark.case("kata", "kata-runtime in /opt/kata/bin alone", source="kata-containers #11122")
def test_a_runtime_that_is_not_there_has_its_advice(lab: Lab) -> None:
    lab.host.without = {"kata-runtime"}
    with pytest.raises(StageFailed, match="lacks programs that are needed: kata-runtime") as caught:
        lab.bring("kata")
    assert "it may be in /opt/kata/bin" in (caught.value.hint or "")
