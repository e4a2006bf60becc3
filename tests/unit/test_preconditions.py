"""What the platform and kata stages decide by themselves; the kernel's lines are its source's."""

from __future__ import annotations

import tomllib
from importlib import import_module
from pathlib import Path

import pytest

from fixtures import stage_modules
from fixtures.common import capacity
from fixtures.kata.configuration import configured
from fixtures.kata.stage import KERNEL_RELEASE
from fixtures.platform import virtcca
from fixtures.profile import Profile
from harness.errors import LabError
from harness.host.host import Host
from harness.profile.schema import ProfileError, load
from harness.run.stage import DECLARED
from tests.unit.mini import ROOT

KATA = (ROOT / "vlab" / "standins" / "kata" / "configuration.toml").read_text("utf-8")
PROFILES = sorted(path.stem for path in (ROOT / "profiles").glob("*.toml"))

LOG = """\
[    0.000000] Kernel command line: virtcca_cvm_host=1
[    1.234567] TMM feature0: 0x1f
[    2.000000] S_SMMU: secure smmu id:0 init end!
[    2.000001] S_SMMU: secure smmu id:1 init end!
[    2.100000] arm_smmu_v3 arm-smmu-v3.1.auto: does not implement secure state
[    9.000000] vfio-pci 0000:81:00.0: failed to delegate device
"""


@pytest.mark.case(
    "kernel",
    "the ring buffer and the journal, which both have a line",
    source="openEuler OLK-6.6, virtcca_cvm.c and arm-s-smmu-v3.c",
)
def test_the_kernels_log_is_searched_on_the_host(
    local: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, lines in {"dmesg": LOG, "journalctl": "TMM feature0: 0x1f\n"}.items():
        program = tmp_path / name
        program.write_text(f"#!/bin/sh\ncat <<'E'\n{lines}E\n")
        program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    found = virtcca.probe_tee(local)
    assert found.tmm == ("TMM feature0: 0x1f",)  # once, though both logs have it
    assert len(found.secure_smmus) == 2
    assert found.smmu_errors == (
        "arm_smmu_v3 arm-smmu-v3.1.auto: does not implement secure state",
        "vfio-pci 0000:81:00.0: failed to delegate device",
    )
    assert found.kvm != 1  # this machine is no Kunpeng: 0, or no /dev/kvm at all
    assert (found.kvm is None) == bool(found.kvm_says)


def test_a_boot_parameter_counts_with_its_value() -> None:
    line = (
        "root=/dev/sda virtcca_cvm_host=1 arm_smmu_v3.disable_ecmdq=0 xvfio_pci.disable_idle_d3=1"
    )
    wanted = ["virtcca_cvm_host=1", "arm_smmu_v3.disable_ecmdq=1", "vfio_pci.disable_idle_d3=1"]
    assert virtcca.missing_parameters(line, wanted) == wanted[1:]


SWITCH = "vfio_pci.disable_idle_d3=1"


@pytest.mark.case(
    "kernel", "parameters with - for _", source="vm-curator #63, ansible-collection-linux #28"
)
@pytest.mark.parametrize(
    ("line", "options", "set_"),
    [  # kernel: admin-guide/kernel-parameters.rst, kstrtobool
        ("vfio-pci.disable_idle_d3=1", (), True),
        ("vfio_pci.disable_idle_d3=Y", (), True),
        ("vfio-pci.disable-idle-d3=on", (), True),
        ("vfio_pci.disable_idle_d3", (), True),
        ('vfio_pci.disable_idle_d3="1"', (), True),
        ('"vfio_pci.disable_idle_d3=1"', (), True),
        ('dyndbg="file a +p; vfio_pci.disable_idle_d3=1 x"', (), False),
        ("vfio_pci.disable_idle_d3=0 vfio-pci.disable_idle_d3=1", (), True),
        ("vfio_pci.disable_idle_d3=1 vfio-pci.disable_idle_d3=0", (), False),
        ("quiet -- vfio_pci.disable_idle_d3=1", (), False),
        ("vfio_pci.disable_idle_d3=1 -- quiet", (), True),
        ("vfio_pci.disable_idle_d3=10", (), False),
        ("vfio_pci.disable_idle_d3=", (), False),
        ("quiet", ("vfio_pci.disable_idle_d3=1",), True),
        ("vfio_pci.disable_idle_d3=0", ("vfio_pci.disable_idle_d3=1",), False),
        ("", (), False),
    ],
)
def test_a_boot_parameter_is_the_kernels_word(
    line: str, options: tuple[str, ...], set_: bool
) -> None:
    assert virtcca.missing_parameters(line, [SWITCH], options) == ([] if set_ else [SWITCH])


# As openEuler's OLK-6.6 prints it, with its clock and without, and with CONFIG_PRINTK_CALLER; the
# messages are of its sources, not recorded.
CODA = (
    "arm-smmu-v3 arm-smmu-v3.1.auto: CoDA: Delegate 1 devices as 80:00 to secure",
    "arm-smmu-v3 arm-smmu-v3.1.auto: CoDA: attach confidential dev: 0000:81:00.0",
)
BEFORE = "vfio-pci 0000:81:00.0: failed to delegate device"


@pytest.mark.case(
    "kernel",
    "a message's caller in front of it, and dates or no clock at all",
    source="Linux, CONFIG_PRINTK_CALLER; dmesg -T; printk.time=0",
)
@pytest.mark.case(
    "kernel",
    "printk's clock far behind /proc/uptime",
    source="lunatik #569, node-problem-detector #479, syslog-ng #121",
)
@pytest.mark.parametrize(
    "stamp",
    [
        "[{:12.6f}] ",
        "[{:12.6f}] [    T1] ",
        "[{:.6f}][ T4711] ",
        "[{:12.6f}][    C3] ",
        "",
        "[Fri Nov 27 04:00:{:02.0f}] ",
    ],
)
def test_the_kernels_messages_are_those_after_its_newest(
    local: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stamp: str
) -> None:
    def lines(*messages: str) -> str:
        return "".join(f"{stamp.format(n)}{m}\n" for n, m in enumerate(messages, 1))

    program = tmp_path / "dmesg"
    program.write_text(f"#!/bin/sh\ncat {tmp_path}/log\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    log = tmp_path / "log"
    log.write_text(lines(BEFORE, "[drm] other"))
    newest = virtcca.newest_message(local)
    assert newest.endswith("[drm] other")
    assert virtcca.said_since(local, newest) == ()
    log.write_text(lines(BEFORE, "[drm] other", *CODA))
    said = virtcca.said_since(local, newest)
    assert [line[-len(coda) :] for line, coda in zip(said, CODA, strict=True)] == list(CODA)
    assert virtcca.delegation(said, ["0000:81:00.0"]) == ([], [])
    log.write_text(lines(*CODA))
    again = virtcca.newest_message(local)
    log.write_text(lines(*CODA, *CODA))  # without a clock they are the same lines
    assert len(virtcca.said_since(local, again)) == 2
    log.write_text(lines(*CODA))  # the ring buffer has forgotten what was before
    assert len(virtcca.said_since(local, newest)) == 2
    log.write_text("")
    assert virtcca.newest_message(local) == ""
    log.write_text(lines(*CODA))
    assert len(virtcca.said_since(local, "")) == 2


def test_what_goes_to_one_file_system_is_added_up(local: Host, tmp_path: Path) -> None:
    there = str(tmp_path / "not" / "there")
    (only,) = capacity.rooms(local, [(there, 1 << 20, "one"), (str(tmp_path), 2 << 20, "another")])
    assert only.free > 0
    assert (only.needed, only.use) == (3 << 20, "one, another")
    assert not only.short
    (full,) = capacity.rooms(local, [(there, only.free + (1 << 40), "too much")])
    assert full.short
    assert "too much" in str(full)


def test_secure_smmu_speaks_of_each_device() -> None:
    log = ["Delegate 2 devices as 81:00 to secure", "attach confidential dev: 0000:81:00.0"]
    assert virtcca.delegation(log, ["0000:81:00.0"]) == ([], [])
    bad, missing = virtcca.delegation(["failed to delegate device 81:00.1"], ["0000:81:00.1"])
    assert bad
    assert missing == ["0000:81:00.1"]


SETTINGS = {"image": "/work.img", "cold_plug_vfio": "root-port", "default_memory": 512}


def test_katas_file_keeps_all_that_it_said_besides() -> None:
    text = configured("c.toml", KATA, SETTINGS, debug=True)
    before, after = tomllib.loads(KATA), tomllib.loads(text)
    before["hypervisor"]["qemu"] |= SETTINGS | {"enable_debug": True}
    before["agent"]["kata"]["enable_debug"] = True
    before["runtime"] = {"enable_debug": True}
    assert after == before
    comments = [line for line in KATA.splitlines() if line.startswith("#")]
    assert [line for line in text.splitlines() if line.startswith("#")] == comments


@pytest.mark.parametrize(
    ("text", "says"),
    [("[hypervisor.clh]\n", "no section"), ("[hypervisor.qemu\n", "not valid TOML")],
)
def test_a_file_that_is_not_katas_is_refused(text: str, says: str) -> None:
    with pytest.raises(LabError, match=says) as caught:
        configured("c.toml", text, SETTINGS, debug=False)
    assert caught.value.clause == "kata.configuration"
    assert caught.value.hint


@pytest.mark.parametrize(
    ("content", "release"),
    [
        (
            b"\0" * 0x202 + b"HdrS" + b"\0" * 8 + b"\x10\x02" + b"\0" * 0x200 + b"6.6.0-olk (x@y)",
            "6.6.0-olk",
        ),
        (b"\0" * 600 + b"Linux version %s (x)\0Linux version 6.6.0-olk (x@y)", "6.6.0-olk"),
        (b"\x1f\x8b" + b"\0" * 600, ""),
    ],
)
def test_the_release_of_a_kernel_file(
    local: Host, tmp_path: Path, content: bytes, release: str
) -> None:
    path = tmp_path / "kernel"
    path.write_bytes(content)
    said = local.run("python3", "-c", KERNEL_RELEASE, str(path))
    assert said.out.strip() == release


@pytest.mark.parametrize("name", PROFILES)
def test_every_profile_that_is_shipped_parses(name: str) -> None:
    for module in stage_modules():
        import_module(module)
    budgets = {stage: declared.budget for stage, declared in DECLARED.items()}
    profile = load(name, Profile, {}, ROOT / "profiles", budgets)
    assert profile.name == name
    assert profile.budget.keys() == {*budgets, "lab_host", "test", "command"}


def test_a_kernel_release_is_a_regular_expression() -> None:
    with pytest.raises(ProfileError, match=r"platform\.kernel_release"):
        load("vlab", Profile, {"ACCEPT_PLATFORM__KERNEL_RELEASE": "6.6("}, ROOT / "profiles")
