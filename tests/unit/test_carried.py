"""What comes from outside is fetched into a folder, and a run takes it from there alone."""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from fixtures.profile import Profile
from harness import exits
from harness.errors import BadUsage
from harness.profile.schema import ProfileError, load
from harness.run import carried
from harness.run.assets import Asset, AssetError, reach
from harness.run.carried import AssetFile
from harness.run.pinning import pin
from tests.sample.carried import Profile as Parted
from tests.unit.asset_server import CONTENT, DIGEST, Server, serving
from tests.unit.mini import HOST_PLUGIN, PROFILE, QUICK, ROOT, Mini, sample

TOOL = b"#!/bin/sh\n" * 1000
TOOL_DIGEST = hashlib.sha256(TOOL).hexdigest()
PLUGINS = ["harness.plugin.plugin", "tests.sample.carried", HOST_PLUGIN]
LOCK = """# of the lab
lock = 1

[parts.data] # by its maker
source = "{data}"
licence = "CC0-1.0"
"""
NO_ROUTE = ["unshare", "--net", "--map-root-user"]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """Serves the data, and the tool."""
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "127.0.0.1")
    with serving() as server:
        server.files["/tool.sh"] = TOOL
        yield server


class Lab(Mini):
    """A project whose profile names a tool itself, and data by its lock, which is not pinned."""

    def __init__(self, folder: Path, server: Server) -> None:
        super().__init__(folder, suite=sample("suite_carried"), plugins=PLUGINS)
        self.profile = folder / "profiles" / "vlab.toml"
        self.lock = folder / "profiles" / "lab.lock"
        self.carried = folder / "carried"
        tool = f'[parts.tool]\nsource = "{server.url("tool.sh")}"\nsha256 = "{TOOL_DIGEST}"\n'
        self.profile.write_text(f'assets = "lab.lock"\n{PROFILE}{tool}')
        self.lock.write_text(LOCK.format(data=server.url("data.bin")))

    def pin(self, sha256: str = DIGEST, size: int = len(CONTENT)) -> None:
        """Pin the data, as somebody who knows it."""
        self.lock.write_text(f'{self.lock.read_text()}sha256 = "{sha256}"\nsize = {size}\n')

    def parted(self) -> Parted:
        """Its profile, read."""
        return load(str(self.profile), Parted, self.environ, self.profile.parent)

    def fetch(self, *words: str) -> tuple[int, str]:
        return self.harness("prefetch", str(self.carried), *words)

    def refused(self, *says: str) -> str:
        """A run is refused in these words, and nothing was touched; all that it said."""
        status, out = self.pytest("-m", "acceptance", f"--offline={self.carried}")
        assert status == exits.USAGE, out
        assert all(text in out for text in says), out
        assert "Traceback" not in out
        assert not self.state.exists()
        assert not (self.folder / "reports").exists()
        return out


@pytest.fixture
def lab(tmp_path: Path, server: Server) -> Lab:
    return Lab(tmp_path / "m", server)


@pytest.fixture
def whole(lab: Lab) -> Lab:
    """One whose lock is pinned, and whose folder is filled."""
    lab.pin()
    carried.fill(dict(carried.named(lab.parted())), lab.carried, print)
    return lab


def of(lab: Lab, name: str) -> Path:
    """A file in the folder."""
    [path] = lab.carried.glob(f"*-{name}")
    return path


def test_a_run_without_a_network_takes_all_from_the_folder(whole: Lab) -> None:
    if subprocess.run([*NO_ROUTE, "true"], capture_output=True).returncode != 0:
        pytest.skip("no network namespace can be made here: 'unshare --net' is refused")
    asks = ["-m", "pytest", *QUICK, "-m", "acceptance", "--allow-local"]
    ran = subprocess.run(
        [*NO_ROUTE, sys.executable, *asks, f"--offline={whole.carried}"],
        cwd=whole.folder,
        env=whole.environ,
        capture_output=True,
        text=True,
    )
    assert ran.returncode == exits.PASSED, ran.stdout + ran.stderr
    assert "2 passed" in ran.stdout
    assert whole.made() == []
    [fact] = [event for event in whole.record() if event.get("name") == "assets"]
    assert fact["value"]["folder"] == str(whole.carried)
    files = {file["key"]: file for file in fact["value"]["files"]}
    assert files["parts.tool"]["sha256"] == TOOL_DIGEST
    assert (files["parts.data"]["sha256"], files["parts.data"]["size"]) == (DIGEST, len(CONTENT))
    assert files["parts.data"]["licence"] == "CC0-1.0"
    assert fact["shown"][0]["value"]["parts.data"] == f"data.bin {DIGEST}"


def test_the_network_is_not_asked_where_there_is_one(whole: Lab, server: Server) -> None:
    asked = len(server.asked)
    status, out = whole.pytest(
        *("-m", "acceptance", "-k", "pinned"),
        environ={"ACCEPT_POLICY__OFFLINE": str(whole.carried)},
    )
    assert (status, len(server.asked)) == (exits.PASSED, asked), out


def test_fetching_again_asks_for_what_is_missing_alone(whole: Lab, server: Server) -> None:
    asked = len(server.asked)
    of(whole, "tool.sh").unlink()
    status, out = whole.fetch()
    assert status == exits.PASSED
    assert len(server.asked) == asked + 1
    data = of(whole, "data.bin").name
    assert f"parts.data: {data}, {len(CONTENT)} bytes, sha256 {DIGEST}" in out
    assert f"run with --offline={whole.carried}" in out


def test_fetching_goes_on_where_it_was_broken_off(lab: Lab, server: Server) -> None:
    lab.pin()
    lab.carried.mkdir()
    part = lab.carried / f"{Asset(server.url('data.bin'), DIGEST).cached().name}.part"
    part.write_bytes(CONTENT[:1000])
    assert lab.fetch()[0] == exits.PASSED
    assert server.asked == [None, "bytes=1000-"]
    assert sorted(path.suffix for path in lab.carried.glob("[!.]*")) == [".bin", ".sh"]


@pytest.mark.parametrize(
    ("sha256", "size", "says"),
    [
        (TOOL_DIGEST, len(CONTENT), f"sha256 {DIGEST}, expected"),
        (DIGEST, 5, f"the server has {len(CONTENT)} bytes, expected 5"),
    ],
)
def test_what_is_another_file_is_not_taken(lab: Lab, sha256: str, size: int, says: str) -> None:
    lab.pin(sha256, size)
    status, out = lab.fetch()
    assert status == exits.USAGE
    assert says in out
    assert "Traceback" not in out
    assert [path.name for path in lab.carried.glob("*-data.bin")] == []


def test_without_a_network_fetching_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.run.assets.ATTEMPTS", 1)
    with pytest.raises(AssetError, match=r"tool\.sh' cannot be fetched \(0 bytes have come\)"):
        carried.fill({"tool": _file("http://127.0.0.1:1/tool.sh")}, tmp_path, print)


def _file(source: str, size: int | None = None) -> AssetFile:
    return AssetFile(source=source, sha256=TOOL_DIGEST, size=size)


def test_a_folder_without_room_is_told_before_anything_comes(tmp_path: Path) -> None:
    with pytest.raises(AssetError, match=r"GB are to come, and .* has room for"):
        carried.fill({"tool": _file("http://127.0.0.1:1/x", 1 << 60)}, tmp_path, print)


def test_a_file_of_this_machine_is_copied(tmp_path: Path) -> None:
    made = tmp_path / "tool.sh"
    made.write_bytes(TOOL)
    said: list[str] = []
    carried.fill({"tool": _file(str(made))}, tmp_path / "carried", said.append)
    made.unlink()
    [copy] = (tmp_path / "carried").iterdir()
    assert copy.read_bytes() == TOOL
    assert said == [f"tool: {copy.name}, {len(TOOL)} bytes, sha256 {TOOL_DIGEST}"]


def test_a_lock_is_pinned_as_it_comes_and_held_to_it(lab: Lab, server: Server) -> None:
    status, out = lab.fetch("--pin", str(lab.lock))
    assert status == exits.PASSED
    assert f"parts.data: pinned to sha256 {DIGEST}; nobody has vouched for it" in out
    text = lab.lock.read_text()
    assert text.startswith("# of the lab\n")
    pinned = tomllib.loads(text)["parts"]["data"]
    assert (pinned["sha256"], pinned["size"]) == (DIGEST, len(CONTENT))
    status, again = lab.fetch("--pin", str(lab.lock))
    assert (status, "vouched" in again, lab.lock.read_text()) == (exits.PASSED, False, text)
    assert len(server.asked) == 1
    server.content = CONTENT[::-1]
    of(lab, "data.bin").unlink()
    status, out = lab.fetch()
    assert status == exits.USAGE
    assert f"expected\n       {DIGEST}" in out


def test_what_is_pinned_at_first_is_never_half_of_an_earlier_file(lab: Lab, server: Server) -> None:
    lab.carried.mkdir()
    (lab.carried / "data.bin.unpinned").write_bytes(b"of an earlier release")
    assert lab.fetch("--pin", str(lab.lock))[0] == exits.PASSED
    assert server.asked == [None]
    assert tomllib.loads(lab.lock.read_text())["parts"]["data"]["sha256"] == DIGEST


def test_a_profile_that_takes_nothing_from_outside(lab: Lab) -> None:
    lab.profile.write_text(PROFILE)
    status, out = lab.fetch()
    assert status == exits.USAGE
    assert "Profile 'mini' names no asset: there is nothing to be fetched." in out


def complaint(lab: Lab) -> str:
    """What is wrong with the folder."""
    with pytest.raises(BadUsage) as caught:
        carried.require(lab.parted(), lab.carried)
    return str(caught.value)


def test_a_folder_that_is_not_there(lab: Lab) -> None:
    lab.pin()
    said = complaint(lab)
    assert f"--offline: there is no folder '{lab.carried}'." in said
    assert "python -m harness prefetch" in said


def test_a_folder_that_is_not_whole(whole: Lab) -> None:
    name = of(whole, "data.bin").name
    of(whole, "data.bin").unlink()
    said = complaint(whole)
    assert "parts.data: Asset 'http://127.0.0.1:" in said
    assert f"no {name}." in said
    assert "parts.tool:" not in said


def test_a_file_that_was_changed(whole: Lab) -> None:
    of(whole, "tool.sh").write_bytes(TOOL[::-1])
    whole.refused("parts.tool: Asset", "is not what was expected", f"       {TOOL_DIGEST}")


def test_a_file_that_was_cut(whole: Lab) -> None:
    of(whole, "data.bin").write_bytes(CONTENT[:-1])
    assert f"has {len(CONTENT) - 1} bytes, expected {len(CONTENT)}" in complaint(whole)


def test_a_folder_that_another_lock_has_filled(whole: Lab) -> None:
    name = of(whole, "data.bin").name
    whole.lock.write_text(whole.lock.read_text().replace(DIGEST, TOOL_DIGEST))
    assert f"only what was pinned otherwise: {name}" in complaint(whole)


LOCKS = [
    ("lock = 1", "lock = 2", "lock: expected lock = 1, the format of asset locks", "found 2"),
    ("lock = 1", "", "lock: expected lock = 1", "found nothing"),
    ("lock = 1", "lock = 1\nname = 'x'", "name: expected assets alone", "found string"),
    ("sha256 =", "sha =", "parts.data.sha256: expected the digest of http://", "--pin"),
    (
        "sha256 =",
        "size_ = 1\nsha256 =",
        "parts.data.size_: expected one of licence, sha256",
        "size",
    ),
    ("[parts.data]", "[parts.date]", "parts.date: expected one of data, tool", "'data'?"),
    ('sha256 = "', 'sha256 = "X', "parts.data.sha256: expected a sha256 of 64", "found string"),
    ("source =", "sauce =", "parts.data.sauce: expected assets alone", "source and sha256"),
    ("licence", "=", "lab.lock: expected TOML, found", "line"),
]


def refusal(lab: Lab) -> str:
    """What is wrong with its profile."""
    with pytest.raises(ProfileError) as caught:
        lab.parted()
    return str(caught.value)


@pytest.mark.parametrize(("old", "new", "says", "more"), LOCKS)
def test_a_lock_that_is_none(lab: Lab, old: str, new: str, says: str, more: str) -> None:
    lab.pin()
    lab.lock.write_text(lab.lock.read_text().replace(old, new, 1))
    said = refusal(lab)
    assert f"{lab.lock}: " in said
    assert says in said
    assert more in said


def test_a_lock_that_is_none_is_told_before_anything_is_touched(lab: Lab) -> None:
    lab.refused(f"ERROR: {lab.lock}: parts.data.sha256: expected the digest of http://")


def test_a_lock_that_is_not_there(lab: Lab) -> None:
    lab.lock.unlink()
    assert f"{lab.lock}: expected a TOML file, found nothing" in refusal(lab)


def test_a_lock_that_is_named_by_no_name(lab: Lab) -> None:
    lab.profile.write_text(f"assets = 5\n{PROFILE}")
    assert "assets: expected the name of an asset lock, found integer" in refusal(lab)


@pytest.mark.parametrize(("old", "new", "says", "more"), LOCKS[:3])
def test_only_a_lock_is_pinned(lab: Lab, old: str, new: str, says: str, more: str) -> None:
    text = lab.lock.read_text().replace(old, new, 1)
    lab.lock.write_text(text)
    with pytest.raises(BadUsage) as caught:
        pin(lab.lock, lab.carried, print)
    assert f"{lab.lock}: {says}" in str(caught.value)
    assert more in str(caught.value)
    assert (lab.lock.read_text(), lab.carried.exists()) == (text, False)


def test_a_lock_takes_the_place_of_what_its_profile_says(lab: Lab) -> None:
    lab.pin()
    other = '[parts.data]\nsource = "/elsewhere/data"\nsha256 = "' + "0" * 64 + '"\n'
    lab.profile.write_text(f"{lab.profile.read_text()}{other}")
    assert DIGEST in lab.harness("profile")[1]


def test_a_run_with_a_network_asks_first_whether_servers_are_there(
    server: Server, tmp_path: Path
) -> None:
    asset = Asset(server.url("tool.sh"), TOOL_DIGEST, len(TOOL))
    reach(asset, tmp_path)
    with pytest.raises(AssetError, match=f"the server has {len(TOOL)} bytes, expected 5"):
        reach(Asset(asset.source, TOOL_DIGEST, 5), tmp_path)
    server.status = 404
    with pytest.raises(AssetError, match="cannot be had: 404"):
        reach(asset, tmp_path)
    with pytest.raises(AssetError, match="cannot be had") as caught:
        reach(Asset("http://127.0.0.1:1/tool.sh", TOOL_DIGEST), tmp_path)
    assert "--offline=FOLDER" in (caught.value.hint or "")
    assert not [*tmp_path.iterdir()]


# The template for a real lab: what is commented out in it as well.
GIVEN = (ROOT / "profiles" / "kunpeng-virtcca.lock").read_text("utf-8")


def load_with(lock: str, folder: Path) -> Profile:
    shutil.copy(ROOT / "profiles" / "kunpeng-virtcca.toml", folder)
    (folder / "mylab.lock").write_text(lock)
    (folder / "mylab.toml").write_text('extends = "kunpeng-virtcca.toml"\nassets = "mylab.lock"\n')
    return load("mylab", Profile, {}, folder)


def test_what_the_template_does_not_know_is_told(tmp_path: Path) -> None:
    with pytest.raises(ProfileError) as caught:
        load_with(GIVEN, tmp_path)
    lines = str(caught.value).splitlines()
    assert [line.split(": ")[1] for line in lines] == [
        *("guest.driver_asset.sha256", "guest.repository_asset.sha256", "network.archive.sha256")
    ]


def test_the_template_names_keys_that_there_are(tmp_path: Path) -> None:
    lock = re.sub(r"^# (?=\[|source|licence)", "", GIVEN, flags=re.M)
    lock = re.sub(r"(source = .*\n)(?!sha256)", rf'\1sha256 = "{DIGEST}"\n', lock)
    profile = load_with(lock, tmp_path)
    assert {key for key, _ in carried.named(profile)} == {
        *("guest.driver_asset", "guest.repository_asset", "guest.packages_archive"),
        *("network.archive", "network.cnitool", "image.archive", "image.buildx", "model.archive"),
        "image.bases.vllm-base:2024-12",
    }
    assert all(file.licence for _, file in carried.named(profile))
