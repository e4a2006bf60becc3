"""The first profile of a host (`python -m harness profile init`), and its checklist."""

from __future__ import annotations

import argparse
import inspect
import json
import subprocess
import sys
import tomllib
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import pytest

from fixtures.common import pci
from fixtures.guide import clauses
from fixtures.profile import Profile
from fixtures.survey import seen as reading
from fixtures.survey import written
from fixtures.survey.seen import Seen, look, template
from harness import exits
from harness.errors import BadUsage
from harness.plugin.session import Session
from harness.profile.schema import load
from suites import checklist, test_platform
from tests.unit.mini import ROOT
from tests.unit.stages.lab import Lab

A100, AUDIO = "0000:81:00.0", "0000:81:00.1"
# Fields of LIST_DEVICES; an A100 has no audio function, and other cards have.
TWO_GPUS = (
    f"{A100}\t0x10de\t0x20f1\t0x030200\t0x10de\t0x145f\t81\t-\tnvidia\t(null)\tflr bus\n"
    f"{AUDIO}\t0x10de\t0x1aef\t0x040300\t0x10de\t0x145f\t81\t-\tsnd_hda_intel\t(null)\t\n"
    "0000:82:00.0\t0x10de\t0x20f1\t0x030200\t0x10de\t0x145f\t82\t-\t-\t(null)\tflr bus\n"
)

Init = Callable[..., tuple[int, str]]


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    """The virtual lab as it was before a run."""
    lab = Lab(tmp_path / "lab", {})
    lab.host.spare("Device Minor")
    lab.host.spare("docker info", out="user root\nname vlab\ndocker /var/lib/docker\n")
    lab.host.spare('[ -e "$1" ]', status=1)  # the folders of other templates
    lab.host.spare("readlink -m", out="/etc/kata-containers/configuration.toml\n")
    return lab


@pytest.fixture
def init(lab: Lab, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Init:
    """The command, on the virtual lab: its exit status, and what it prints."""
    monkeypatch.setattr(checklist, "_opened", lambda *_: nullcontext(lab.host))

    def run(**given: object) -> tuple[int, str]:
        words: dict[str, object] = {
            "profile": None,
            "ssh": None,
            "out": None,
            "check": False,
            "json": False,
        }
        words |= {"sudo": False, "allow_local": True, "capture": "no", **given}
        hook = SimpleNamespace(
            pytest_acceptance_schema=lambda: Profile, pytest_acceptance_state_dir=lambda: None
        )
        session = Session(hook, ROOT, argparse.Namespace(**words), [])
        return checklist.init(session), capsys.readouterr().out

    return run


def base(name: str) -> Profile:
    return load(name, Profile, {}, ROOT / "profiles")


def loaded(text: str, folder: Path) -> Profile:
    """What is written is a profile of this project."""
    path = folder / "mine.toml"
    for shipped in (ROOT / "profiles").glob("*.toml"):
        (folder / shipped.name).write_text(shipped.read_text("utf-8"))
    path.write_text(text)
    return load(str(path), Profile, {}, folder)


def flat(text: str) -> str:
    """Without line breaks and comment signs."""
    return " ".join(text.replace("\n#", " ").split())


def changed(seen: Seen, profile: Profile) -> dict[str, object]:
    return {k: v for one in written.settings(seen, profile) for k, v in one.values.items()}


def test_of_a_lab_as_its_profile_has_it_nothing_is_otherwise(init: Init, tmp_path: Path) -> None:
    status, text = init(profile="vlab")
    assert status == exits.PASSED
    assert tomllib.loads(text) == {"extends": "vlab.toml", "name": "vlab"}
    for fact in ("6.12.117", "CONFIG_VFIO_PCI=m", "dmar0", "26.1.5+dfsg1", "1.7.24~ds1", "1af4:"):
        assert fact in text
    assert "# What stands in the way, worst first: nothing that can be seen" in text
    assert loaded(text, tmp_path).gpu.vendor == "1af4"
    assert init(profile="vlab", check=True)[0] == exits.PASSED


def test_what_the_environment_adds_is_told_by_name(
    init: Init, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "environment" not in init(profile="vlab")[1]
    monkeypatch.setenv("ACCEPT_VLAB__GPUS", "2")
    text = init(profile="vlab")[1]
    assert "In the environment, not in this file: ACCEPT_VLAB__GPUS." in flat(text)
    assert tomllib.loads(text) == {"extends": "vlab.toml", "name": "vlab"}


def test_a_section_that_is_named_is_there() -> None:
    page, _, section = written.SEVERAL.partition(", ")
    assert f"\n## {section}\n" in (ROOT / page).read_text("utf-8")


def test_another_template_gets_the_site_in_few_lines(lab: Lab, tmp_path: Path) -> None:
    assert template(lab.host) == "x86-kata"
    profile = base("x86-kata")
    seen = look(lab.host, profile)
    found = changed(seen, profile)
    assert found == {"gpu.vendor": "1af4", "gpu.classes": ["0380"]}
    text = written.document(
        {"extends": "x86-kata.toml", "name": "x"}, written.settings(seen, profile)
    )
    assert "kept: guest.base_image is not told by it" in text  # what that kata boots is a run's
    gpu = loaded(text, tmp_path).gpu
    assert (gpu.vendor, gpu.classes, gpu.count) == ("1af4", ("0380",), 1)


@pytest.mark.parametrize(
    ("machine", "said", "wanted"),
    [
        ("x86_64", "", "x86-kata"),
        ("aarch64", "", "kunpeng-virtcca"),
        ("aarch64", "kata-runtime  : 3.2.0-rc0\n   commit   : x\n", "kunpeng-virtcca"),
        ("aarch64", "kata-runtime  : 3.15.0\n   commit   : x\n", "kunpeng-virtcca-v3.15"),
    ],
)
def test_the_template_is_that_of_the_machine_and_its_kata(
    lab: Lab, machine: str, said: str, wanted: str
) -> None:
    lab.host.reply("uname -m", out=f"{machine}\n")
    lab.host.reply("kata-runtime --version", status=0 if said else 127, out=said)
    assert template(lab.host) == wanted


def test_of_several_gpus_the_one_that_nobody_uses_is_named(lab: Lab, tmp_path: Path) -> None:
    lab.host.reply("subsystem_vendor", out=TWO_GPUS)
    lab.host.reply("Device Minor", out=f"{A100}\tpython3, process 4242\n")
    profile = base("x86-kata")
    seen = look(lab.host, profile)
    first, second = seen.cards
    assert first.shares == (f"{AUDIO} (10de:1aef, snd_hda_intel)",)
    assert (first.free, second.free) == (False, True)
    settings = written.settings(seen, profile)
    text = written.document({"extends": "x86-kata.toml", "name": "x"}, settings)
    assert "used by python3, process 4242" in text
    assert 'All 2 in one container: gpu.count = "all"' in flat(text)
    assert "NVSwitch" not in text
    assert loaded(text, tmp_path).gpu.bdf == ("0000:82:00.0",)


def test_nvswitches_are_told(lab: Lab) -> None:
    line = "0000:05:00.0\t0x10de\t0x22a3\t0x068000\t0x10de\t0x1796\t114\t-\tnvidia\t(null)\t\n"
    lab.host.reply("subsystem_vendor", out=TWO_GPUS + line)
    profile = base("x86-kata")
    settings = written.settings(look(lab.host, profile), profile)
    text = flat(written.document({"extends": "x86-kata.toml", "name": "x"}, settings))
    assert "NVSwitches: 0000:05:00.0 (group 114). GPUs that they join" in text


def test_a_gpu_on_which_the_host_lives_is_not_chosen(lab: Lab) -> None:
    lab.host.reply("subsystem_vendor", out=TWO_GPUS)
    lab.host.reply("walk()", out=f"net/enp0s1 /sys/devices/pci0000:80/{AUDIO}/net/enp0s1\n")
    seen = look(lab.host, base("x86-kata"))
    assert seen.cards[0].vital == (f"{AUDIO}: interface enp0s1 by which we are logged in",)
    assert changed(seen, base("x86-kata"))["gpu.bdf"] == "0000:82:00.0"


def test_a_console_and_a_virtual_function_are_no_candidates() -> None:
    rows = (
        "0000:00:01.0\t0x1234\t0x1111\t0x030000\t0x0\t0x0\t1\t-\t-\t(null)\t",
        "0000:00:02.0\t0x1002\t0x740f\t0x038000\t0x0\t0x0\t2\t-\t-\t(null)\t",
        "0000:00:03.0\t0x19e5\t0xd802\t0x120000\t0x0\t0x0\t3\t-\t-\t(null)\t",
        "0000:00:04.0\t0x1002\t0x7410\t0x038000\t0x0\t0x0\t4\t0000:00:02.0\t-\t(null)\t",
    )
    found = reading.candidates([*map(pci.parse, rows)], base("x86-kata").gpu)
    assert [device.bdf for device in found] == ["0000:00:02.0", "0000:00:03.0"]


def test_a_subnet_that_is_in_use_is_replaced_by_a_free_one(lab: Lab) -> None:
    taken = '[{"dst": "10.88.0.0/15", "dev": "docker0"}, {"dst": "10.90.3.0/24", "dev": "eth1"}]'
    lab.host.reply("route show table all", out=taken)
    profile = base("x86-kata")
    seen = look(lab.host, profile)
    assert changed(seen, profile)["network.subnet"] == "10.91.0.0/16"
    [clash] = seen.taken
    assert "the host's route to 10.88.0.0/15 by docker0" in clash


def test_the_hosts_own_paths_are_taken_over(lab: Lab, tmp_path: Path) -> None:
    folder, commit = "/home/pass-through", "1" * 40
    newest = f"{folder}/NVIDIA-Linux-x86_64-570.86.15.run"
    lab.host.reply("docker info", out=f"user lab\nname x\ndriver {newest}\ndocker /data/docker\n")
    lab.host.reply('[ -e "$1" ]', f"{folder}/vllm-build")
    lab.host.reply("owners_git", f"{folder}/vllm-build", out=f"{commit}\n")
    lab.host.edit("env --json", old="/var/lib/passthrough-acceptance/", new="/opt/kata/share/")
    lab.host.reply("readlink -m", out="/elsewhere/configuration.toml\n")
    lab.host.reply("sfdisk", status=1, err="no such file")
    lab.host.reply("od -An", status=1)
    profile = base("x86-kata")
    seen = look(lab.host, profile)
    text = written.document(
        {"extends": "x86-kata.toml", "name": "x"}, written.settings(seen, profile)
    )
    mine = loaded(text, tmp_path)
    assert (mine.guest.driver, mine.guest.driver_version) == (newest, "570.86.15")
    assert mine.image.commit == commit
    assert mine.kata.configuration == "/etc/kata-containers/configuration.toml"
    assert mine.guest.base_image == "/opt/kata/share/rootfs.img"
    assert "there is no guest image /opt/kata/share/rootfs.img on lab" in flat(text)
    assert "(root sees more: --sudo)" in next(written.remarks(seen, None, profile))


def test_what_cannot_be_read_is_told_and_the_rest_is_read(lab: Lab) -> None:
    lab.host.reply("route show table all", status=1, err="RTNETLINK answers: not permitted")
    lab.host.reply("kata-runtime", "env", status=1, err="config.toml: permission denied")
    lab.host.reply("Device Minor", status=1, err="there is no 'find' (findutils)")
    profile = base("x86-kata")
    seen = look(lab.host, profile)
    assert {*seen.unknown} == {"networks", "kata", "users of the GPU"}
    assert seen.kata is None
    assert not changed(seen, profile).keys() & {"network.subnet", "guest.base_image"}
    said = "\n".join(written.remarks(seen, None, profile))
    assert "Not read: kata: Command 'kata-runtime env --json'" in said
    assert "permission denied" in said


def test_the_suite_judges_what_was_read_and_the_worst_comes_first(init: Init, lab: Lab) -> None:
    lab.host.reply("docker version", status=1, err="Cannot connect to the Docker daemon")
    lab.host.reply("ls /sys/class/iommu", out="")
    lab.host.reply("route show table all", out='[{"dst": "10.88.0.0/16", "dev": "docker0"}]')
    status, said = init(profile="vlab", check=True)
    assert status == exits.FAILED
    boxes = [line.split()[2].rstrip(":") for line in said.splitlines() if line.startswith("[ ]")]
    assert boxes == ["platform.iommu", "platform.docker", "network.conf"]
    assert "said: Cannot connect to the Docker daemon" in flat(said)
    assert "hint: set network.subnet in the profile" in said
    # What is written of that host has another network, and no such obstacle.
    assert init(profile="vlab")[1].count("network.conf") == 0


def test_a_host_that_a_run_has_left_changed_is_an_obstacle(
    init: Init, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = SimpleNamespace(stage="gpu", what="bind 0000:01:00.0")
    journal = SimpleNamespace(run_id="r1", pending=lambda durable=True: [entry])
    monkeypatch.setattr(checklist, "load_all", lambda *_: [journal])
    status, said = init(profile="vlab", check=True)
    assert status == exits.FAILED
    assert "still has what run 'r1' changed, such as: [gpu] bind 0000:01:00.0" in said


def test_a_platform_that_cannot_be_read_is_an_obstacle(init: Init, lab: Lab) -> None:
    lab.host.reply("cat -- /proc/cmdline", status=1, err="not permitted")
    status, text = init(profile="vlab")
    assert status == exits.PASSED
    assert tomllib.loads(text)["name"] == "vlab"
    assert "Command 'cat -- /proc/cmdline' on 'lab' ended with exit status 1" in flat(text)


def test_a_user_who_is_not_root_is_told_so(init: Init, lab: Lab) -> None:
    lab.host.reply("docker info", out="user lab\nname vlab\n")
    # Nobody but root is told which program of root's a process runs.
    lab.host.reply("/cmdline", out="program \nword /usr/bin/containerd\nword --log-level\n")
    status, said = init(profile="vlab", check=True)
    assert status == exits.PASSED
    assert "'lab' may not read all of it" in flat(said)


def test_of_a_guest_itself_no_host_is_judged(init: Init, lab: Lab, tmp_path: Path) -> None:
    path = tmp_path / "guest.toml"
    path.write_text(f'extends = "{ROOT}/profiles/in-guest.toml"\n')
    status, said = init(profile=str(path), check=True)
    assert status == exits.PASSED
    assert "worst first: nothing that can be seen" in said
    assert not [words for words in lab.host.asked if "ctr" in words]


def test_an_inventory_has_all_of_it(init: Init) -> None:
    status, said = init(profile="vlab", json=True)
    assert status == exits.PASSED
    document = json.loads(said)
    assert document["in_the_way"] == []
    assert document["platform"]["kernel"].startswith("6.12.117")
    assert document["seen"]["cards"][0]["device"]["vendor"] == "1af4"


def test_a_file_that_is_there_is_not_written_over(init: Init, tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    status, said = init(profile="vlab", out=path)
    assert status == exits.PASSED
    assert said.splitlines()[0] == f"{path}: the profile of 'lab'."
    assert tomllib.loads(path.read_text("utf-8")) == {
        "extends": f"{ROOT}/profiles/vlab.toml",
        "name": "mine",
    }
    with pytest.raises(BadUsage, match="not written over"):
        init(profile="vlab", out=path)
    with pytest.raises(BadUsage, match="both are given"):
        init(profile="vlab", ssh="root@host")


def test_every_test_of_the_platform_suite_is_asked_but_one() -> None:
    known = {"platform", "profile", "tee"}
    tests = {k: v for k, v in vars(test_platform).items() if k.startswith("test_")}
    left = [k for k, v in tests.items() if not {*inspect.signature(v).parameters} <= known]
    assert left == ["test_nothing_stands_in_the_way_of_later_stages"]


def test_every_clause_of_the_order_is_one() -> None:
    assert {*written.WORST} <= {*clauses.load().by_id}


def test_a_bare_machine_has_a_profile_and_a_list(tmp_path: Path) -> None:
    """This one, whatever it has: as a user starts it."""
    command = [sys.executable, "-m", "harness", "profile", "init", "--json"]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (exits.PASSED, "")
    found = json.loads(ended.stdout)
    head = {"extends": found["extends"], "name": "x", "target.kind": "local"}
    text = written.document(head, [written.Setting((), found["profile"])])
    assert loaded(text, tmp_path).target.kind == "local"
    assert {"hint", "says", "clause"} == {*found["in_the_way"][0]}  # nobody's desk is a lab host
