"""The host's fingerprint: what is otherwise, what may be, and which stage is told."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from fixtures.fingerprint import program
from fixtures.fingerprint.differences import Difference, Stages, advice, undeclared
from harness import exits
from tests.sample import during
from tests.sample.stages import Make
from tests.unit.mini import PLUGINS, Mini

# What `nft -s list ruleset` (nftables 1.0.6) says of docker's rules.
RULES = """\
table ip nat {
	chain DOCKER {
		iifname "docker0" return
	}

	chain POSTROUTING {
		type nat hook postrouting priority srcnat; policy accept;
		oifname != "docker0" ip saddr 172.17.0.0/16 masquerade
	}
}
"""


def _files(root: Path, full: bool = False) -> dict[str, dict[str, str]]:
    return {f"file {root}": program.files(str(root), full, "")}


def _otherwise(before: dict[str, dict[str, str]], root: Path, full: bool = False) -> list[str]:
    found = program.differences(before, _files(root, full))
    return [str(Difference(**one)).replace(f"{root}/", "") for one in found]


def test_of_files_all_that_is_otherwise_is_told(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    for name in ("same", "mode", "gone", "folder/text"):
        (tmp_path / name).write_text("1\n")
    (tmp_path / "link").symlink_to("same")
    before = _files(tmp_path)
    (tmp_path / "mode").chmod(0o600)
    (tmp_path / "gone").unlink()
    (tmp_path / "folder" / "text").write_text("22\n")
    (tmp_path / "link").unlink()
    (tmp_path / "link").symlink_to("mode")
    (tmp_path / "new").write_text("")
    found = _otherwise(before, tmp_path)
    assert [line.split()[1] for line in found] == ["folder/text", "gone", "link", "mode", "new"]
    assert "is gone" in found[1]
    assert "-> same', and is" in found[2]
    assert "was '644" in found[3]
    assert "is '600" in found[3]
    assert "was not there before the run" in found[4]


def test_a_file_may_have_any_name_and_what_is_passed_over_is_that_alone(tmp_path: Path) -> None:
    names = ["a\nb", "c  d", "e[x]", "ex", "f\\g", os.fsdecode(b"\xff"), "-o", "notes/n"]
    (tmp_path / "notes").mkdir()
    for name in names:
        (tmp_path / name).write_text("1\n")
    (found,) = _files(tmp_path, full=True).values()
    assert {path.removeprefix(f"{tmp_path}/") for path in found} == {*names, "notes", str(tmp_path)}
    files = [value for path, value in found.items() if Path(path).is_file()]
    assert len({value.partition("sha256")[2] for value in files}) == 1
    assert "sha256 " in files[0]
    without = program.files(str(tmp_path), False, f"{tmp_path}/e[x]")
    assert {*found} - {*without} == {f"{tmp_path}/e[x]"}
    assert json.loads(json.dumps(found)) == found


def test_without_a_program_nothing_is_said_to_have_been_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "file").write_text("1\n")
    (tmp_path / "bin" / "find").symlink_to(shutil.which("find") or "")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    assert _files(tmp_path)
    with pytest.raises(OSError, match="sha256sum"):
        _files(tmp_path, full=True)


def test_in_full_a_file_counts_by_its_bytes(tmp_path: Path) -> None:
    file = tmp_path / "library.so"
    file.write_bytes(b"one")
    about = file.stat()
    quick, full = _files(tmp_path), _files(tmp_path, full=True)
    file.write_bytes(b"two")
    os.utime(file, ns=(about.st_atime_ns, about.st_mtime_ns))
    assert _otherwise(quick, tmp_path) == []
    assert len(_otherwise(full, tmp_path, full=True)) == 1


def test_a_rule_of_the_firewall_has_its_table_and_chain() -> None:
    assert program.placed(RULES) == [
        'table ip nat: chain DOCKER: iifname "docker0" return',
        "table ip nat: chain DOCKER",
        "table ip nat: chain POSTROUTING: type nat hook postrouting priority srcnat;"
        " policy accept;",
        'table ip nat: chain POSTROUTING: oifname != "docker0" ip saddr 172.17.0.0/16 masquerade',
        "table ip nat: chain POSTROUTING",
        "table ip nat",
    ]


def test_a_login_is_no_unit_of_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where pam_systemd makes no session, our connection has a scope: after a break another one."""
    names = ["harness-ssh-412.scope", "session-3.scope", "user@0.service", "theirs.service"]
    monkeypatch.setattr(program, "listed", lambda folder: names)
    monkeypatch.setattr(program, "lines", lambda *argv: [])
    assert program.units() == {"transient theirs.service": ""}


def test_a_kind_that_was_not_read_both_times_is_not_compared() -> None:
    assert list(program.differences({"docker": {"image x": ""}}, {})) == []


def test_what_is_declared_or_volatile_is_not_told() -> None:
    found = [
        Difference(kind="file", item="/run/utmp", before="a", after="b"),
        Difference(kind="file", item="/var/lib/state/rootfs.img", after="x"),
        Difference(kind="file", item="/etc/cni", after="40755"),
        Difference(kind="file", item="/etc/cni/net.d", after="40755"),
        Difference(kind="module", item="vfio", after=""),
    ]
    left = undeclared(found, ["file /var/lib/state/rootfs.img"])
    assert [one.item for one in left] == ["/etc/cni", "vfio"]
    assert advice(left[1]) == "to unload it: rmmod vfio"


@pytest.mark.finding("C4", "a lease that nobody ends is not noticed")
def test_a_lease_is_told_with_what_ends_it() -> None:
    lease = Difference(kind="containerd", item="lease 7-x (namespace default)", after="")
    assert undeclared([lease], ["containerd content *"]) == [lease]
    assert advice(lease).endswith("ctr leases rm 7-x")


def _record(folder: Path, *events: dict[str, object]) -> Path:
    path = folder / "record.jsonl"
    path.write_text("".join(json.dumps(event) + "\n" for event in events))
    return path


@pytest.mark.parametrize(
    ("difference", "stage"),
    [
        (Difference(kind="module", item="vfio_pci", after=""), "gpu"),
        (Difference(kind="file", item="/etc/cni/net.d", after=""), "network"),
        (Difference(kind="containerd", item="lease 12-ab (namespace default)", after=""), ""),
        (Difference(kind="file", item="/run/x", after="", age=0.0), "network or model"),
        (Difference(kind="module", item="vfio", after=""), ""),  # a part of a name is none
    ],
    ids=["its change", "its command", "nobody", "by the time", "a part of a name"],
)
def test_the_stage_that_left_it_is_told(tmp_path: Path, difference: Difference, stage: str) -> None:
    def at(seconds: float) -> str:
        return datetime.fromtimestamp(time.time() + seconds, UTC).isoformat()

    record = _record(
        tmp_path,
        {"kind": "stage", "time": at(-60), "name": "gpu", "state": "started"},
        {"kind": "command", "time": at(-59), "stage": "gpu", "line": "modprobe vfio_pci"},
        {"kind": "change", "time": at(-58), "stage": "gpu", "what": "modules vfio_pci"},
        {"kind": "stage", "time": at(-50), "name": "gpu", "state": "ok"},
        {"kind": "stage", "time": at(-40), "name": "network", "state": "started"},
        {"kind": "stage", "time": at(-40), "name": "model", "state": "started"},
        {"kind": "command", "time": at(-30), "stage": "network", "line": "mkdir /etc/cni/net.d"},
        {"kind": "stage", "time": at(+30), "name": "network", "state": "ok"},
        {"kind": "stage", "time": at(+30), "name": "model", "state": "failed"},
    )
    assert Stages(record).of(difference) == stage


# The program looks at the mini host alone: what else there is on this machine is others'.
CONFTEST = """
from fixtures.fingerprint import plugin

ONLY = '''
ROOTS = ({host!r},)
all_of_them = readings

def readings(*words):
    return [(kind, ask) for kind, ask in all_of_them(*words) if kind.startswith("file ")]

if __name__'''
plugin.PROGRAM = plugin.PROGRAM.replace("if __name__", ONLY, 1)
pytest_plugins = {plugins!r}
"""


def _mini(folder: Path, two: Callable[[Make], None] = during.nothing) -> Mini:
    plugins = [*PLUGINS, "fixtures.fingerprint.plugin"]
    conftest = CONFTEST.replace("{plugins!r}", repr(plugins)).replace(
        "{host!r}", repr(str(folder / "host"))
    )
    return Mini(folder, two, conftest=conftest)


@pytest.mark.parametrize("two", [during.nothing, during.work], ids=["stages", "and a job"])
def test_a_run_that_leaves_nothing_ends_with_0(tmp_path: Path, two: Callable[[Make], None]) -> None:
    mini = _mini(tmp_path / "mini", two)
    status, output = mini.pytest("-m", "acceptance")
    assert status == exits.PASSED, output
    assert [e["value"] for e in mini.record() if e.get("name") == "left"] == [[]]
    assert not mini.state.exists()


def test_what_is_seen_anew_of_what_an_earlier_run_made_is_nothing_left(tmp_path: Path) -> None:
    mini = _mini(tmp_path / "mini", during.see)
    for _ in range(2):
        status, output = mini.pytest("-m", "acceptance")
        assert status == exits.PASSED, output
    assert [path.name for path in (mini.state / "stages").iterdir()] == ["two.seen"]


def test_what_a_kept_change_has_made_is_nothing_left(tmp_path: Path) -> None:
    mini = _mini(tmp_path / "mini", during.keep)
    for _ in range(2):
        status, output = mini.pytest("-m", "acceptance")
        assert status == exits.PASSED, output
        assert (mini.host / "new" / "er" / "kept [1]").exists()
    status, output = mini.pytest("-m", "acceptance", "--restore")
    assert status == exits.PASSED, output
    assert not (mini.host / "new").exists()


@pytest.mark.finding("C2", "what no undo knows of stays, and nobody says so")
def test_what_no_undo_knows_of_fails_the_run_with_the_stages_name(tmp_path: Path) -> None:
    mini = _mini(tmp_path / "mini", during.litter)
    status, output = mini.pytest("-m", "acceptance")
    assert status == exits.RESIDUE, output
    assert f"LEFT ON THE HOST [two] file {mini.host}/litter was not there before" in output


def test_a_comparison_that_fails_is_told_as_that_and_not_as_clean(tmp_path: Path) -> None:
    mini = _mini(tmp_path / "mini", during.spoil_the_note)
    status, output = mini.pytest("-m", "acceptance")
    assert status == exits.RESIDUE, output
    assert "LEFT ON THE HOST [fingerprint] what else is otherwise is not known" in output
    assert mini.made() == []


def test_what_others_do_is_named_in_the_profile(tmp_path: Path) -> None:
    mini = _mini(tmp_path / "mini", during.litter)
    others = json.dumps([f"file {mini.host}/lit*"])
    status, output = mini.pytest("-m", "acceptance", environ={"ACCEPT_POLICY__OTHERS": others})
    assert status == exits.PASSED, output
