"""rootfs: what stands in the way of the guest image is named, and what is half made is undone."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fixtures.common import capacity
from fixtures.common.findings import reported
from fixtures.rootfs import contents, driver, image_file, mounted, toolkit
from fixtures.rootfs.stage import HOOK
from harness.errors import LabError
from harness.host.command import CommandFailed
from harness.host.host import Host
from harness.record.trace import at_stage
from harness.run.stage import StageFailed
from harness.undo.journal import Journal
from harness.undo.undo import undo
from suites import test_rootfs as rootfs_suite
from tests.unit.conftest import named
from tests.unit.replay import ReplayHost, Reply, Words
from tests.unit.stages.conftest import MakeLab
from tests.unit.stages.lab import INSTALLER, MARK, Lab, Refusal, about, record
from tests.unit.test_judgements import told

GUEST = record().profile["guest"]
BASE, WORK, TREE, DRIVER = (
    GUEST[key] for key in ("base_image", "work_image", "kernel_tree", "driver")
)
FACTS = record().facts["rootfs"]
RELEASE = FACTS["kernel_release"]
PARTIAL = f"{WORK}.partial"
ROOT = mounted.MOUNT_POINT
EXISTS = '[ -e "$1" ] ||'
MAGIC = "od -An -tx1"
NO_SPACE = "cp: error writing: No space left on device\n"
CAME = f"{record().run_id}.service"


def partitioned(
    host: ReplayHost, *starts: int, ext4: tuple[int, ...], label: str = "gpt", size: int = 100_000
) -> None:
    """Images have partitions that begin at these sectors, and ext4 in some of them."""

    def magic(words: Words) -> Reply:
        offset = int(words[-1]) - image_file.MAGIC_AT
        return Reply(out=" 53 ef\n" if offset // 512 in ext4 and offset else " 00 00\n")

    host.reply(MAGIC, by=magic)
    parts = [{"start": start, "size": size} for start in starts]
    table = {"partitiontable": {"label": label, "partitions": parts}}
    host.reply("sfdisk --json", out=json.dumps(table))


def unpartitioned(host: ReplayHost, status: int, err: str) -> None:
    """Images begin with something else, and this is what sfdisk says of them."""
    host.reply(MAGIC, out=" 50 4b\n")
    host.reply("sfdisk --json", status=status, err=err)


REFUSED = [
    Refusal(
        "no kernel tree",
        lambda host: host.reply(EXISTS, f"{TREE}/include/config/kernel.release", status=1),
        (f"{TREE} is no configured kernel tree", "kernel.release is missing"),
        "make prepare",
        "rootfs.kernel-tree",
    ),
    Refusal(
        "an image of somebody else's",
        lambda host: host.reply(EXISTS, f"sh {WORK}"),
        (f"{WORK} is there, and no run of ours has made it",),
        "guest.work_image",
        "rootfs.resize",
    ),
    Refusal(
        "no base image",
        lambda host: host.reply(EXISTS, f"sh {BASE}", status=1),
        (f"there is no guest image {BASE} on lab",),
        "guest.base_image",
        "rootfs.layout",
    ),
    Refusal(
        "a base image that is none",
        lambda host: unpartitioned(host, 1, "does not contain a recognized partition table"),
        (f"{BASE} is no guest image", "no magic number at byte 1080", "a recognized partition"),
        "the image that kata's build made",
        "rootfs.layout",
    ),
    Refusal(
        "no ext4 in any partition",
        lambda host: partitioned(host, 2048, 300_000, ext4=()),
        (f"{BASE} has 0 partitions with ext4", "none of them is ext4"),
        f"sfdisk --list {BASE}",
        "rootfs.layout",
    ),
    Refusal(
        "two partitions with ext4",
        lambda host: partitioned(host, 2048, 300_000, ext4=(2048, 300_000)),
        ("2 partitions with ext4", "partition 1 (gpt) at byte 1048576; partition 2 (gpt)"),
        f"sfdisk --list {BASE}",
        "rootfs.layout",
    ),
]

# After something was changed.
BROKEN = [
    Refusal(
        "no room for the copy",
        lambda host: host.reply("cp --sparse=always", status=1, err=NO_SPACE),
        ("cp --sparse=always", "No space left on device"),
        "it is full: guest.grow",
        "rootfs.resize",
    ),
    Refusal(
        "a base image that cannot be read",
        lambda host: host.reply("cp --sparse=always", status=1, err="Input/output error"),
        ("Input/output error",),
        "whole and not in use?",
        "rootfs.resize",
    ),
    Refusal(
        "a damaged file system",
        lambda host: host.reply("e2fsck -fy", status=4, out="UNEXPECTED INCONSISTENCY"),
        (f"{PARTIAL} (bare ext4) is damaged", "ended with 4", "UNEXPECTED INCONSISTENCY"),
        "was it in use while it was copied?",
        "rootfs.resize",
    ),
    Refusal(  # e2fsck 1.47.0, given a feature that it does not know
        "a file system of a newer e2fsprogs",
        lambda host: host.reply(
            "e2fsck -fy",
            status=8,
            err="rootfs.img has unsupported feature(s): FEATURE_I31\n"
            "e2fsck: Get a newer version of e2fsck!\n",
        ),
        ("has features that the host's e2fsck does not know", "ended with 8", "FEATURE_I31"),
        "install an e2fsprogs as new",
        "rootfs.resize",
    ),
    Refusal(
        "a file system that could not be checked",
        lambda host: host.reply("e2fsck -fy", status=8, err="e2fsck: Cannot allocate memory"),
        ("could not be checked", "ended with 8", "Cannot allocate memory"),
        "e2fsck says why",
        "rootfs.resize",
    ),
    Refusal(
        "a qemu-img without its library",
        lambda host: host.reply(
            "qemu-img resize",
            status=127,
            err="qemu-img: error while loading shared libraries: libaio.so.1: cannot open shared "
            "object file: No such file or directory\n",
        ),
        ("'qemu-img' lacks its library 'libaio.so.1'", "qemu-img resize"),
        "command -v qemu-img",
        "rootfs.resize",
    ),
    Refusal(
        "resize2fs",
        lambda host: host.reply("resize2fs", status=1, err="Bad magic number in super-block"),
        ("resize2fs", "Bad magic number"),
        "guest.base_image",
        "rootfs.resize",
    ),
    Refusal(
        "no way to the packages",
        lambda host: host.job("rootfs-dnf", 1, "Error: Failed to download metadata for repo\n"),
        ("Job 'rootfs-dnf'", "exit status 1", "Failed to download metadata"),
        "dnf repolist",
        "rootfs.packages",
    ),
    Refusal(
        "no room for the packages",
        lambda host: host.job("rootfs-dnf", 1, "No space left on device\n"),
        ("Job 'rootfs-dnf'",),
        "it is full: guest.grow",
        "rootfs.packages",
    ),
    Refusal(
        "dnf is killed",
        lambda host: host.job("rootfs-dnf", "gone", ""),
        ("was killed before it could end",),
        "out-of-memory kill",
        "rootfs.packages",
    ),
    Refusal(
        "no driver to install",
        lambda host: host.reply(f"cp -r -- {DRIVER}", status=1, err="No such file or directory"),
        (f"cp -r -- {DRIVER}", "No such file or directory"),
        "guest.kernel_tree and guest.driver",
        "rootfs.kernel-tree",
    ),
    Refusal(
        "no room for the kernel tree",
        lambda host: host.reply(f"cp -r -- {TREE}/.", status=1, err=NO_SPACE),
        (f"cp -r -- {TREE}/.",),
        "it is full: guest.grow",
        "rootfs.kernel-tree",
    ),
]


def installer(name: str, status: int = 1) -> Callable[[ReplayHost], None]:
    """The real installer's end in a recorded case: what it said, and its log."""

    def ends(host: ReplayHost) -> None:
        said, log = (INSTALLER / f"{name}.err", INSTALLER / f"{name}.log")
        if status:
            host.job("rootfs-driver", status, said.read_text() if said.exists() else "ERROR: x\n")
        host.reply(f"cat {driver.INSTALLER_LOG}", out=log.read_text() if log.exists() else "")

    return ends


DRIVER_FAILS = Refusal(
    "the driver does not build",
    installer("real-open-sources"),
    ("Job 'rootfs-driver'", "exit status 1"),
    "a later release of its branch",
    "rootfs.driver",
)
# Real installers' ends: case, status, and the hint.
INSTALLERS = [
    ("build-fails", 1, "has changed since? (PACKAGE/kernel/nvidia-main.c:5:9: error: 'y' undecl"),
    ("real-open-sources", 1, "error: too few arguments to function 'pci_resize_resource'"),
    ("no-auto-conf", 1, "guest.kernel_tree has to be"),
    ("no-kernel-source", 1, "guest.kernel_tree has to be"),
    ("kernel-not-configured", 1, "guest.kernel_tree has to be"),
    ("no-cc", 1, "put gcc and make into guest.packages"),
    ("no-ld", 1, "put binutils into"),
    ("no-dmesg", 1, "put util-linux into"),
    ("no-modprobe", 1, "put kmod into"),
    ("no-libc-headers", 1, "put glibc-devel into"),
    ("alternate-install-present", 1, "distribution's packages"),
    ("guides-own-command", 1, "lacks --silent"),
    ("signature-forced-no-openssl", 1, "CONFIG_MODULE_SIG_FORCE"),
    ("ext4-full-for-modules", 135, "the guest image is full"),
    ("unknown-option", 1, "does not know a flag"),
    ("580-type-nonsense", 1, "does not know a flag"),
    ("no-space-for-firmware", 0, "the guest image is full"),
    ("depmod-fails", 0, "kmod of the guest image does not work"),
    ("package-file-missing", 0, "compare guest.driver with NVIDIA's digest"),
    ("no-module-symvers", 0, "guest.kernel_tree has to be"),
]


@pytest.mark.case(
    "NVIDIA",
    "status 0 for a driver that is not whole; a full disk, missing tools, a tree that does not fit",
    source="nvidia-installer 550.127.05 and 580.95.05",
)
@pytest.mark.parametrize(("name", "status", "hint"), INSTALLERS)
def test_an_installation_that_is_not_whole_is_refused_whatever_its_status(
    lab: Lab, name: str, status: int, hint: str
) -> None:
    says = ("the driver is not whole",) if status == 0 else (f"exit status {status}",)
    Refusal(name, installer(name, status), says, hint, "rootfs.driver").of(lab, "rootfs")
    assert not any("mv --" in " ".join(words) for words in lab.host.asked)


@pytest.mark.case(
    "NVIDIA", "the log of a good installation", source="nvidia-installer 550.127.05 and 580.95.05"
)
@pytest.mark.parametrize("name", ["ok", "580-type-open"])
def test_a_whole_installation_has_nothing_against_it(name: str) -> None:
    assert driver.faults((INSTALLER / f"{name}.log").read_text()) == []
    assert driver.faults("") == ["it does not say 'Post-install sanity check passed.'"]


@pytest.mark.case(
    "NVIDIA",
    "fixdep and modpost that are missing, or another machine's",
    source="nvidia-installer 550.127.05, Linux 6.1",
)
@pytest.mark.parametrize(
    "said",
    [  # make's shell, which is dash or bash; not recorded
        "/bin/sh: 1: scripts/basic/fixdep: not found",
        "/bin/sh: scripts/mod/modpost: cannot execute binary file: Exec format error",
    ],
)
def test_a_kernel_tree_of_another_machine_is_told(said: str) -> None:
    assert "'make modules_prepare'" in driver.hint(f"{said}\nmake[1]: *** Error 126")


@pytest.mark.case(
    "NVIDIA",
    "the installer unloads the host's modules before it builds",
    source="nvidia-installer 550.127.05",
)
def test_the_installer_can_do_nothing_to_the_hosts_modules(lab: Lab) -> None:
    lab.bring("rootfs")
    [words] = [words for words in lab.host.asked if "-rootfs-driver.service" in " ".join(words)
               and "setsid" in " ".join(words)]  # fmt: skip
    assert words.index("--bounding-set=-sys_module") < words.index("chroot")
    assert any(
        words[-5:] == ("mount", "-o", "bind", "/dev/null", f"{ROOT}/proc/modules")
        for words in lab.host.asked
    )


NEWER = ("--skip-module-load", "--no-rebuild-initramfs", "--kernel-module-type=open")


@pytest.mark.case(
    "NVIDIA",
    "flags that an older installer refuses, and the choice of modules",
    source="nvidia-installer 470.256.02 to 580.95.05, option_table.h; gpu-driver-container #857",
)
@pytest.mark.parametrize(
    ("version", "known"),
    [("470.256.02", 0), ("535.216.01", 0), ("550.127.08", 2), ("580.95.05", 3)],
)
def test_flags_fit_the_drivers_version(lab: Lab, version: str, known: int) -> None:
    update = {"driver_version": version, "driver_flags": None}  # the record has its own
    guest = lab.run.profile.guest.model_copy(update=update)
    words = driver.arguments(guest, RELEASE)
    assert [flag for flag in NEWER if flag in words] == list(NEWER[:known])
    assert {"--silent", "--no-drm", "--no-systemd"} <= {*words}
    own = guest.model_copy(update={"driver_flags": ("-s",)})
    assert driver.arguments(own, RELEASE)[2:] == ["-s"]


@pytest.mark.parametrize("refusal", REFUSED, ids=about)
def test_what_cannot_be_begun_is_refused_and_nothing_changed(lab: Lab, refusal: Refusal) -> None:
    refusal.of(lab, "rootfs")
    assert not lab.journal()


@pytest.mark.parametrize("refusal", [*BROKEN, DRIVER_FAILS], ids=about)
def test_what_breaks_on_the_way_is_told_with_its_cause(lab: Lab, refusal: Refusal) -> None:
    refusal.of(lab, "rootfs")
    assert lab.journal()[0] == f"make {PARTIAL}"
    assert not any("mv --" in " ".join(words) for words in lab.host.asked)  # nothing took its place


MOUNTED = next(at for at, refusal in enumerate(BROKEN) if "packages" in refusal.about)


@pytest.mark.parametrize("refusal", [*BROKEN[MOUNTED:], DRIVER_FAILS], ids=about)
def test_the_image_is_closed_whatever_happens_in_it(lab: Lab, refusal: Refusal) -> None:
    refusal.of(lab, "rootfs")
    assert ("sh", "-euc", mounted.CLOSE, "sh", f"acceptance-rootfs-{CAME}", ROOT) in lab.host.asked


def test_what_was_repaired_or_in_use_is_a_finding(lab: Lab) -> None:
    lab.host.reply("e2fsck -fy", status=1, out="Entry 'kata-agent' has deleted inode. CLEARED.\n")
    lab.host.reply('"$fd" -ef "$1"', out="qemu-system-aar, process 7\n")
    lab.bring("rootfs")
    found = {finding.id: finding.text for finding in reported(lab.run)}
    assert found["rootfs.repaired"].endswith("Entry 'kata-agent' has deleted inode. CLEARED.")
    assert found["rootfs.in-use"].endswith("open: qemu-system-aar, process 7")
    assert "no digest pins it" in found["rootfs.driver-not-pinned"]


def test_the_installers_log_becomes_evidence(lab: Lab) -> None:
    DRIVER_FAILS.of(lab, "rootfs")
    folder = lab.run.evidence.collect("suites/test_x.py::test_y")
    assert folder is not None
    log = (folder / "nvidia-installer.log").read_text()
    assert log == (INSTALLER / "real-open-sources.log").read_text()


def test_dnf_that_takes_too_long(make_lab: MakeLab) -> None:
    lab = make_lab(settings={"budget": {"rootfs": 1e-6}})
    lab.host.reply("setsid -f", "-rootfs-dnf.service")
    lab.host.job("rootfs-dnf", 124, "Downloading\n")
    with pytest.raises(StageFailed, match="Job 'rootfs-dnf' on 'lab' still ran after 0 s"):
        lab.bring("rootfs")


def test_a_mount_that_fails_is_named(lab: Lab) -> None:
    says = "mount: unknown filesystem type 'ext4'"
    lab.host.reply("mount -o loop", status=32, err=says)
    with pytest.raises(StageFailed) as caught:
        lab.bring("rootfs")
    assert says in caught.value.message
    assert isinstance(caught.value.__cause__, CommandFailed)
    assert ("sh", "-euc", mounted.CLOSE, "sh", f"acceptance-rootfs-{CAME}", ROOT) in lab.host.asked


def test_a_configuration_of_the_toolkit_that_is_no_toml(ready: Lab) -> None:
    Refusal(
        "",
        lambda host: host.reply(f"cat -- {ROOT}{contents.TOOLKIT_CONFIG}", out="no-cgroups: true"),
        (f"{contents.TOOLKIT_CONFIG} in the guest image is not valid TOML",),
        "nvidia-ctk config --in-place",
        "rootfs.toolkit",
    ).of(ready, "rootfs")


def test_what_an_earlier_run_of_ours_made_is_made_anew(make_lab: MakeLab) -> None:
    lab = make_lab(ours=[("rootfs", f"keep {WORK} ({MARK})")])
    lab.host.reply(EXISTS, f"sh {WORK}")
    lab.bring("rootfs")
    assert f"keep {WORK} ({MARK})" in lab.journal()


def test_a_file_that_has_taken_the_name_of_ours_is_somebody_elses(make_lab: MakeLab) -> None:
    lab = make_lab(ours=[("rootfs", f"keep {WORK} (inode 12 of 1)")])
    lab.host.reply(EXISTS, f"sh {WORK}")
    with pytest.raises(StageFailed, match="no run of ours has made it"):
        lab.bring("rootfs")
    assert not lab.journal()


def test_restore_removes_the_work_image_that_was_made_and_no_other(
    lab: Lab, local: Host, tmp_path: Path
) -> None:
    lab.bring("rootfs")
    [entry] = [e for e in lab.run.journal.entries if e.what.startswith("keep ")]
    assert entry.durable
    work = tmp_path / "a work.img"
    work.touch()
    mark = local.run(*image_file.MARK, str(work)).out.strip()
    for moved in (False, True):
        journal = Journal.create(local, named(f"run-{moved:d}"), str(tmp_path / "state"))
        assert entry.when is not None
        journal.record("s", "keep", [["rm", "--", str(work)]], [*entry.when[:-2], str(work), mark])
        if moved:
            work.touch()  # another's, be it of the very same inode
        assert [r.outcome for r in undo(journal, False)] == [("undone", "not needed")[moved]]
        assert work.exists() is moved


# Looking without making.
LESS = [
    ((f"rpm --root={ROOT}", "-qa"), {"out": ""}, {"packages": {}}),
    (("ls", "yum.repos.d"), {"status": 2}, {"repositories": ()}),
    (("modinfo",), {"status": 1, "err": "not found"}, {
        "module": "", "vermagic": "", "license": "", "uvm": "", "firmware": ()}),
    (("modinfo", "nvidia-uvm"), {"status": 1}, {"uvm": ""}),
    (("ls /lib/firmware/nvidia/",), {"status": 2}, {"firmware": ()}),
    (("ldconfig -r",), {"status": 1}, {"libraries": frozenset()}),
    (("grep -E ^(CONFIG_MODULES",), {"status": 2}, {"kernel_options": dict.fromkeys(
        contents.KERNEL_OPTIONS, "n")}),
    (("stat -c %a %F -L --",), {"status": 1}, {"programs": {}, "kernel_files": frozenset()}),
    (("cat -- ", "prestart"), {"status": 1}, {"hook_text": ""}),
    ((f"cat -- {ROOT}{contents.TOOLKIT_CONFIG}",), {"status": 1}, {"toolkit": {}}),
    (("cat /etc/resolv.conf", WORK), {"out": "nameserver 10.0.2.3\n"},
     {"resolv_conf": "nameserver 10.0.2.3\n", "base_resolv_conf": ""}),
    (("e2fsck -fn",), {"status": 4, "out": "errors"}, {"fsck": 4}),
]  # fmt: skip


@pytest.mark.case(
    "guest image",
    "no module, no nvidia-uvm, no firmware, no configuration of the toolkit",
    source="NVIDIA driver 550.127.05, nvidia-container-toolkit 1.14.0 to 1.20.0",
)
@pytest.mark.parametrize(("texts", "reply", "facts"), LESS)
def test_what_an_image_lacks_is_told_as_missing(
    ready: Lab, texts: tuple[str, ...], reply: dict[str, object], facts: dict[str, object]
) -> None:
    ready.host.reply(*texts, **reply)  # type: ignore[arg-type]
    found = ready.bring("rootfs")
    assert {name: getattr(found, name) for name in facts} == facts


def test_looking_mounts_the_image_read_only(ready: Lab) -> None:
    ready.bring("rootfs")
    mounts = [" ".join(words) for words in ready.host.asked if "mount" in words]
    assert len(mounts) == 1
    assert " -o loop,ro,noload " in mounts[0]


def test_nothing_to_reuse_where_there_is_no_image(lab: Lab) -> None:
    assert lab.probe("rootfs") is None


def test_a_sound_image_is_reused(make_lab: MakeLab) -> None:
    assert make_lab(ready=True).probe("rootfs").kernel_release == RELEASE


@pytest.mark.parametrize(
    ("texts", "reply"),
    [
        (("e2fsck -fn",), {"status": 4}),
        (("modinfo", "filename"), {"status": 1}),
        (("modinfo", "nvidia-uvm"), {"status": 1}),
        (("stat -c %a %F -- ", "prestart"), {"out": "644 regular file\n"}),
    ],
)
def test_an_image_that_is_not_sound_is_not_reused(
    make_lab: MakeLab, texts: tuple[str, ...], reply: dict[str, object]
) -> None:
    lab = make_lab(ready=True)
    lab.host.reply(*texts, **reply)  # type: ignore[arg-type]
    assert lab.probe("rootfs") is None


def _stage_file(lab: Lab, name: str) -> tuple[str, str]:
    """A file of the harness's own on the host: its path, and what was written into it."""
    [found] = [item for item in lab.host.written.items() if item[0].endswith(f"/stages/{name}")]
    return found


def test_an_image_that_has_not_changed_is_not_looked_at_again(make_lab: MakeLab) -> None:
    first = make_lab()
    first.bring("rootfs")
    known = [_stage_file(first, name) for name in ("rootfs", "rootfs.seen")]

    def again(times: str = "") -> Lab:
        lab = make_lab(ready=True, provision="auto")
        for path, text in known:
            lab.host.reply(EXISTS, f"sh {path}")
            lab.host.reply(f"cat -- {path}", out=text)
        if times:
            lab.host.reply("bytes of %.9Y", out=times)
        assert lab.bring("rootfs") == first.facts["rootfs"]
        assert lab.said[-1].startswith("[rootfs] ok (reused)")
        return lab

    assert not any("e2fsck" in words for words in again().host.asked)
    assert any("e2fsck" in words for words in again("inode 12 of 1, 3 bytes of 2, 9\n").host.asked)


def test_the_same_inputs_are_reused_and_others_made_anew(make_lab: MakeLab) -> None:
    first = make_lab()
    first.bring("rootfs")
    path, digest = _stage_file(first, "rootfs")
    again = make_lab(ready=True, provision="auto")
    again.host.reply(EXISTS, path)
    again.host.reply(f"cat -- {path}", out=digest)
    again.host.reply(EXISTS, f"{path}.seen", status=1)
    again.bring("rootfs")
    assert again.said[-1].startswith("[rootfs] ok (reused)")
    other = make_lab(provision="auto", ours=[("rootfs", f"keep {WORK} ({MARK})")])
    other.host.reply(EXISTS, path)
    other.host.reply(f"cat -- {path}", out=digest)
    other.host.edit("stat -L -c %n %s %y", old="/.config ", new="/.config 1")
    other.bring("rootfs")
    assert other.said[-1].startswith("[rootfs] ok (provisioned)")


def test_what_cannot_be_looked_at_cannot_be_reused(make_lab: MakeLab) -> None:
    first = make_lab()
    first.bring("rootfs")
    path, digest = _stage_file(first, "rootfs")
    lab = make_lab(provision="auto", ours=[("rootfs", f"keep {WORK} ({MARK})")])
    lab.host.reply(EXISTS, path)
    lab.host.reply(f"cat -- {path}", out=digest)
    lab.host.reply(EXISTS, f"sh {WORK}")
    turns = iter((" 00 00\n", " 53 ef\n"))  # unreadable when it is looked at, then made anew
    lab.host.reply(MAGIC, f"sh {WORK} 1080", by=lambda words: Reply(out=next(turns)))
    lab.host.reply("sfdisk --json", status=1, err="not recognized")
    lab.bring("rootfs")
    assert f"[rootfs] cannot be reused: {WORK} is no guest image" in "\n".join(lab.said)
    assert lab.said[-1].startswith("[rootfs] ok (provisioned)")


def test_the_guests_hook_is_the_one_that_is_written(lab: Lab) -> None:
    lab.bring("rootfs")
    assert HOOK in lab.host.inputs


# A partition table, where the recorded image has none.
FIRST = 6144


def test_a_partition_is_found_by_what_is_in_it(lab: Lab) -> None:
    partitioned(lab.host, 2048, FIRST, ext4=(FIRST,))
    found = image_file.layout(lab.host, BASE)
    assert str(found) == f"partition 2 (gpt) at byte {FIRST * 512}"
    assert found.file_system == f"{BASE}?offset={FIRST * 512}"
    assert found.mount_option == f"loop,offset={FIRST * 512},sizelimit={100_000 * 512}"


@pytest.mark.parametrize("label", ["gpt", "dos"])
def test_a_partition_is_grown_with_its_table_and_its_file_system(lab: Lab, label: str) -> None:
    partitioned(lab.host, FIRST, ext4=(FIRST,), label=label, size=200_000)
    for command in ("qemu-img resize", "sfdisk --no-reread", "losetup --find"):
        lab.host.reply(command)
    if label == "gpt":
        lab.host.reply("sfdisk --relocate gpt-bak-std")
    before = image_file.Layout(BASE, 1, label, FIRST * 512, 100_000 * 512)
    after = image_file.grow(lab.host, before, "1G")
    assert after.size == 200_000 * 512
    relocated = [words for words in lab.host.asked if "--relocate" in words]
    assert len(relocated) == (label == "gpt")
    assert lab.host.asked[-1][-3:] == (BASE, str(FIRST * 512), str(200_000 * 512))


def test_a_partition_that_is_not_the_last_one_cannot_grow(lab: Lab) -> None:
    partitioned(lab.host, FIRST, ext4=(FIRST,))
    for command in ("qemu-img resize", "sfdisk --relocate", "sfdisk --no-reread"):
        lab.host.reply(command)
    before = image_file.Layout(BASE, 1, "gpt", FIRST * 512, 100_000 * 512)
    with pytest.raises(LabError) as caught:
        image_file.grow(lab.host, before, "1G")
    Refusal(
        "",
        lambda host: None,
        (f"partition 1 of {BASE} did not grow",),
        "has to be the last partition",
        "rootfs.layout",
    ).judge(caught.value)


def test_sizes_are_those_of_the_files_and_of_the_file_system(ready: Lab) -> None:
    with at_stage("rootfs"):
        assert capacity.file_size(ready.host, WORK) == FACTS["size"]
        where = image_file.Layout(WORK)
        assert contents.file_system_size(ready.host, where) == FACTS["file_system_size"]
        # debugfs ends with status 0 all the same
        ready.host.reply("show_super_stats", err="debugfs: Bad magic number in super-block\n")
        with pytest.raises(LabError, match=r"does not tell the size .*: debugfs: Bad magic number"):
            contents.file_system_size(ready.host, where)


# [section,] key and value, and whether the hook works with it.
SETTINGS: list[tuple[dict[str, Any], bool]] = [
    ({}, True),
    ({"nvidia-container-cli": {"load-kmods": True, "ldconfig": "@/sbin/ldconfig"}}, True),
    ({"nvidia-container-cli": {"debug": "/nowhere/a.log"}}, True),
    ({"nvidia-container-cli": {"ldconfig": "@/sbin/ldconfig.real", "no-cgroups": True}}, True),
    ({"nvidia-container-runtime": {"mode": "legacy"}}, True),
    ({"nvidia-container-runtime": {"mode": "auto"}}, True),
    ({"nvidia-container-cli": {"load-kmods": False}}, False),
    ({"nvidia-container-cli": {"ldconfig": "/sbin/ldconfig"}}, False),
    ({"nvidia-container-cli": {"path": "/usr/bin/nvidia-container-cli"}}, False),
    ({"nvidia-container-cli": {"root": "/run/nvidia/driver"}}, False),
    ({"nvidia-container-runtime": {"mode": "cdi"}}, False),
    ({toolkit.ENVIRONMENT: False}, False),
]


@pytest.mark.case(
    "NVIDIA",
    "settings that break the hook, and those that do not",
    source="nvidia-container-runtime-hook 1.17.8, nvidia-container-cli 1.15.0",
)
@pytest.mark.parametrize(("settings", "works"), SETTINGS)
def test_settings_that_break_the_hook_are_told_and_no_others(
    settings: dict[str, Any], works: bool
) -> None:
    assert bool(list(toolkit.harmful(settings))) == (not works)


@pytest.mark.case(
    "NVIDIA",
    "packages that are pinned to a version",
    source="NVIDIA's installation guide of the container toolkit",
)
@pytest.mark.parametrize(
    ("wanted", "there"),
    [
        ("nvidia-container-toolkit", True),
        ("nvidia-container-toolkit-1.17.8", True),
        ("nvidia-container-toolkit-1.17.8-1", True),
        ("nvidia-container-toolkit-1.17.8-1.x86_64", True),
        ("nvidia-container-toolkit-0:1.17.8-1", True),
        ("nvidia-container-toolkit-1.17.4-1", False),
        ("nvidia-container", False),
    ],
)
def test_a_package_is_there_by_any_name_that_dnf_takes(wanted: str, there: bool) -> None:
    assert contents.installed(wanted, {"nvidia-container-toolkit": "1.17.8-1"}) == there


@pytest.mark.case(
    "NVIDIA",
    "a name that another package provides, and a group",
    source="dnf(8), specifying packages; rpm(8), --whatprovides",
)
def test_a_package_may_have_another_name(make_lab: MakeLab) -> None:
    names = {"packages": ["vim", "nothing", "@development"]}
    lab = make_lab(ready=True, provision="never", settings={"guest": names})
    provided = "vim-enhanced-9.0.2092-1.oe2403.x86_64"
    lab.host.reply("--whatprovides vim", out=f"{provided}\n")
    lab.host.reply("--whatprovides nothing", status=1, out="no package provides nothing\n")
    found = lab.bring("rootfs")
    assert found.packages["vim"] == provided
    said = told(rootfs_suite.test_packages_are_installed, found, lab.run.profile)
    assert "not installed in" in said
    assert said.partition(": ")[2].startswith("nothing;")
    profile = make_lab(settings={"guest": {"packages": ["vim"]}}).run.profile
    rootfs_suite.test_packages_are_installed(found, profile)
    profile = make_lab(settings={"guest": {"packages": ["vim", "@development"]}}).run.profile
    assert told(rootfs_suite.test_packages_are_installed, found, profile).startswith(
        "not assessed: rpm knows packages and no groups of them: @development"
    )
