"""Assets, from a real HTTP server that behaves badly in the ways that servers do."""

from __future__ import annotations

import hashlib
import http.server
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from harness.host.command import CommandFailed
from harness.host.host import Host
from harness.run import assets
from harness.run.assets import Asset, AssetError, deliver, fetch, progress_printer
from tests.unit.asset_server import CONTENT, DIGEST, Handler, Server, serving


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A server on loopback; no proxy stands before it, and attempts follow at once."""
    monkeypatch.setattr(assets, "PAUSE", 0.0)
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "127.0.0.1")
    with serving() as server:
        yield server


def test_a_download_is_verified_and_cached(server: Server, tmp_path: Path) -> None:
    asset = Asset(server.url(), DIGEST.upper())
    seen: list[tuple[int, int | None]] = []
    path = fetch(asset, tmp_path, lambda done, total: seen.append((done, total)))
    assert path.read_bytes() == CONTENT
    assert seen[-1] == (len(CONTENT), len(CONTENT))
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    assert fetch(asset, tmp_path) == path == asset.cached(tmp_path)
    assert server.asked == [None]  # the second time nobody was asked


def test_a_dropped_connection_is_resumed(server: Server, tmp_path: Path) -> None:
    server.drops = 3
    assert fetch(Asset(server.url(), DIGEST), tmp_path).read_bytes() == CONTENT
    assert server.asked[0] is None
    half, quarter = len(CONTENT) // 2, len(CONTENT) // 4
    assert server.asked[1:3] == [f"bytes={half}-", f"bytes={half + quarter}-"]
    assert len(server.asked) == 4


def test_a_server_without_ranges_sends_it_anew(server: Server, tmp_path: Path) -> None:
    server.drops, server.ranges = 2, False
    assert fetch(Asset(server.url(), DIGEST), tmp_path).read_bytes() == CONTENT
    assert len(server.asked) == 3


def test_what_an_earlier_run_left_is_resumed(server: Server, tmp_path: Path) -> None:
    asset = Asset(server.url(), DIGEST)
    part = tmp_path / f"{asset.cached(tmp_path).name}.part"
    part.write_bytes(CONTENT[:1000])
    assert fetch(asset, tmp_path).read_bytes() == CONTENT
    assert server.asked == ["bytes=1000-"]
    assert not part.exists()


@pytest.mark.parametrize("left", [b"other", CONTENT + b"more"], ids=["other", "longer"])
def test_what_is_left_of_another_file_is_given_up(
    server: Server, tmp_path: Path, left: bytes
) -> None:
    asset = Asset(server.url(), DIGEST)
    (tmp_path / f"{asset.cached().name}.part").write_bytes(left)
    assert fetch(asset, tmp_path).read_bytes() == CONTENT
    assert server.asked == [f"bytes={len(left)}-", None]


def test_what_is_left_may_be_all_of_it(server: Server, tmp_path: Path) -> None:
    asset = Asset(server.url(), DIGEST)
    (tmp_path / f"{asset.cached().name}.part").write_bytes(CONTENT)
    assert fetch(asset, tmp_path).read_bytes() == CONTENT
    assert len(server.asked) == 1


def test_wrong_bytes_are_told_and_not_used(server: Server, tmp_path: Path) -> None:
    server.content = b"something else"
    found = hashlib.sha256(server.content).hexdigest()
    asset = Asset(server.url(), DIGEST)
    with pytest.raises(AssetError) as caught:
        fetch(asset, tmp_path)
    text = str(caught.value)
    rejected = tmp_path / f"{asset.cached().name}.rejected"
    assert all(part in text for part in (server.url(), found, DIGEST, str(rejected)))
    assert rejected.read_bytes() == server.content
    assert not asset.cached(tmp_path).exists()
    server.content = CONTENT
    assert fetch(asset, tmp_path).read_bytes() == CONTENT  # nothing of it is resumed


def test_a_cached_file_that_has_rotted_is_fetched_anew(server: Server, tmp_path: Path) -> None:
    asset = Asset(server.url(), DIGEST)
    asset.cached(tmp_path).write_bytes(b"rot")
    assert fetch(asset, tmp_path).read_bytes() == CONTENT


def test_what_is_not_there_is_not_asked_for_again(server: Server, tmp_path: Path) -> None:
    server.status = 404
    with pytest.raises(AssetError, match=r"404 .* for url: http://127"):
        fetch(Asset(server.url("gone"), DIGEST), tmp_path)
    assert len(server.asked) == 1


def test_a_server_in_trouble_is_asked_again(server: Server, tmp_path: Path) -> None:
    server.status = 503
    with pytest.raises(AssetError, match="503"):
        fetch(Asset(server.url(), DIGEST), tmp_path)
    assert len(server.asked) == assets.ATTEMPTS


def test_offline_names_the_url_and_the_way_round(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(assets, "PAUSE", 0.0)
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "*")
    asset = Asset("http://127.0.0.1:1/driver.run", DIGEST)
    with pytest.raises(AssetError) as caught:
        fetch(asset, tmp_path)
    assert "http://127.0.0.1:1/driver.run" in str(caught.value)
    assert caught.value.hint is not None
    assert "--offline=FOLDER" in caught.value.hint


def test_a_download_that_is_interrupted_keeps_what_has_come(server: Server, tmp_path: Path) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    asset = Asset(server.url(), DIGEST)
    with pytest.raises(KeyboardInterrupt):
        fetch(asset, tmp_path, interrupt)
    assert not asset.cached(tmp_path).exists()
    assert fetch(asset, tmp_path).read_bytes() == CONTENT
    first, then = server.asked
    assert (first, then != "bytes=0-") == (None, True)


def test_two_at_once_download_once(server: Server, tmp_path: Path) -> None:
    asset = Asset(server.url(), DIGEST)
    with ThreadPoolExecutor(2) as pool:
        paths = [*pool.map(lambda _: fetch(asset, tmp_path), range(2))]
    assert {path.read_bytes() for path in paths} == {CONTENT}
    assert len(server.asked) == 1


@pytest.mark.parametrize("form", ["{}", "file://{}"])
def test_a_file_of_this_machine_is_used_where_it_is(tmp_path: Path, form: str) -> None:
    path = tmp_path / "a file"
    path.write_bytes(CONTENT)
    source = form.format(path if form == "{}" else str(path).replace(" ", "%20"))
    assert fetch(Asset(source, DIGEST), tmp_path / "cache") == path
    path.write_bytes(b"changed")
    with pytest.raises(AssetError, match=DIGEST):
        fetch(Asset(source, DIGEST))


@pytest.mark.parametrize("source", ["/no/such/file", "ftp://host/file", "file://elsewhere/file"])
def test_a_source_that_leads_nowhere(source: str) -> None:
    with pytest.raises(AssetError, match=re.escape(source)):
        fetch(Asset(source, DIGEST))


def test_a_digest_that_is_none() -> None:
    with pytest.raises(AssetError, match="64 hexadecimal digits"):
        Asset("/x", "abc")


def test_an_asset_is_delivered_once(any_host: Host, tmp_path: Path) -> None:
    local, remote = tmp_path / "local", tmp_path / "on the host"
    local.write_bytes(CONTENT)
    asset = Asset(str(local), DIGEST)
    assert deliver(asset, any_host, str(remote), mode=0o755)
    assert remote.read_bytes() == CONTENT
    assert remote.stat().st_mode & 0o7777 == 0o755
    local.unlink()  # it is not even looked at any more
    assert not deliver(asset, any_host, str(remote), mode=0o600)
    assert remote.stat().st_mode & 0o7777 == 0o600
    assert sorted(path.name for path in tmp_path.iterdir()) == ["on the host"]


def test_half_a_file_never_arrives(any_host: Host, tmp_path: Path) -> None:
    """A broken connection ends the far side's input: it must not take that for the file."""
    from harness.host.host import REPLACE

    remote = tmp_path / "remote"
    remote.write_text("before")
    with pytest.raises(CommandFailed, match="only 4 of 5 bytes have come"):
        any_host.sh(REPLACE, str(remote), "644", "5", input=b"half")
    assert [path.read_text() for path in tmp_path.iterdir()] == ["before"]


def test_a_download_is_told_of_now_and_then() -> None:
    said: list[str] = []
    times = iter([0.0, 1.0, 5.0, 5.0, 6.0, 30.0, 30.0])
    progress = progress_printer(said.append, "a.tar", lambda: next(times))
    for done, total in ((1, 100_000_000), (2_000_000, 100_000_000), (3, None), (40_000_000, None)):
        progress(done, total)
    assert said == ["a.tar: 2 of 100 MB", "a.tar: 40 MB"]


@pytest.mark.parametrize(
    ("limit", "value", "said"),
    [
        ("LIMIT", 1 << 20, "has more than 0 GiB"),
        ("PATIENCE", -1.0, "is not whole after -1 s"),
        ("RESERVE", 1 << 62, "leaves less than"),
    ],
)
@pytest.mark.finding("F19", "a download without an end fills the runner's disk")
def test_a_download_has_an_end(
    server: Server,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    limit: str,
    value: float,
    said: str,
) -> None:
    asset = Asset(server.url(), DIGEST)
    monkeypatch.setattr(assets, limit, value)
    with pytest.raises(AssetError, match=said):
        fetch(asset, tmp_path)
    assert not asset.cached(tmp_path).exists()


def test_a_length_that_is_no_number_is_none(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def odd(handler: Handler, name: str, value: str) -> None:
        value = "1e3" if name == "Content-Length" else value
        http.server.BaseHTTPRequestHandler.send_header(handler, name, value)

    monkeypatch.setattr(Handler, "send_header", odd)
    assert fetch(Asset(server.url(), DIGEST), tmp_path).read_bytes() == CONTENT
