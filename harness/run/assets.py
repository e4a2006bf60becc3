"""Assets: files by URL or path, known by their sha256, from a cache on the runner to a host.

A file is used only after its digest was computed from its own bytes. A download is resumed after a
break, verified before use, and made by one process at a time. A runner without a network has a
folder that is laid out as the cache (`harness.run.carried`), and uses that alone.

Not by pooch: it begins a download anew after each break (1.9.0, downloaders.py, "w+b"), and these
are of gigabytes.
"""

from __future__ import annotations

import hashlib
import os
import re
import shlex
import shutil
import time
import urllib.parse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from platformdirs import user_cache_path

from harness.errors import LabError
from harness.host.host import Host

if TYPE_CHECKING:
    import requests

Progress = Callable[[int, int | None], None]  # bytes so far, bytes in all (None: not told)


class AssetError(LabError):
    """An asset that cannot be fetched, or whose digest is another one."""


@dataclass(frozen=True)
class Asset:
    """A file: `source` is an http(s) or file URL or a path, `sha256` is in hexadecimal.

    `size` in bytes, where it is known.
    """

    source: str
    sha256: str
    size: int | None = None

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[0-9a-fA-F]{64}", self.sha256):
            raise AssetError(
                f"Asset '{self.source}' needs a sha256 of 64 hexadecimal digits, not"
                f" '{self.sha256}'.",
                hint="sha256sum FILE",
            )
        object.__setattr__(self, "sha256", self.sha256.lower())

    @property
    def name(self) -> str:
        """A name for the file: the last part of its source, of harmless characters."""
        path = urllib.parse.unquote(urllib.parse.urlsplit(self.source).path)
        return re.sub(r"[^A-Za-z0-9._+-]", "_", path.rstrip("/").rpartition("/")[2])[-100:]

    def local(self) -> Path | None:
        """The file on this machine that `source` names; None for a download."""
        url = urllib.parse.urlsplit(self.source)
        if url.scheme in ("http", "https"):
            return None
        if url.scheme == "file" and url.netloc in ("", "localhost"):
            return Path(urllib.parse.unquote(url.path))
        if "://" in self.source:
            raise AssetError(f"Asset '{self.source}' is no http, https or file URL, and no path.")
        return Path(self.source).expanduser()

    def cached(self, cache: Path | None = None) -> Path:
        """The path of the file in the cache, downloaded or not."""
        return (cache or cache_dir()) / f"{self.sha256[:16]}-{self.name}"


def cache_dir() -> Path:
    """The user's cache of assets on this machine."""
    return user_cache_path("passthrough-acceptance") / "assets"


def digest(path: Path) -> str:
    """A file's sha256, in hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def fetch(asset: Asset, cache: Path | None = None, progress: Progress | None = None) -> Path:
    """The asset as a file of this machine, its digest checked now; downloaded if need be.

    A broken download is resumed, also one of an earlier run. A second fetch of the same asset
    waits for the first. Raises AssetError.
    """
    local = asset.local()
    if local is not None:
        if not local.is_file():
            raise _no_file(asset, local)
        found = digest(local)
        if found != asset.sha256:
            raise wrong(asset, local, found)
        return local
    path = asset.cached(cache)
    into_cache(asset, path, progress)
    return path


def carried(asset: Asset, folder: Path) -> Path:
    """The asset as a file of a folder that is laid out as the cache, its digest checked now.

    Nothing is asked of the network. Raises AssetError.
    """
    path = asset.cached(folder)
    if not path.is_file():
        others = sorted(other.name for other in folder.glob(f"*-{asset.name}"))
        beside = f", only what was pinned otherwise: {', '.join(others)}" if others else ""
        raise AssetError(f"Asset '{asset.source}' is not in '{folder}': no {path.name}{beside}.")
    if asset.size not in (None, size := path.stat().st_size):
        raise AssetError(f"Asset '{path}' has {size} bytes, expected {asset.size}.")
    if (found := digest(path)) != asset.sha256:
        raise wrong(asset, path, found)
    return path


def reach(asset: Asset, cache: Path | None = None) -> None:
    """Raise AssetError where `fetch` would; of a download only its server is asked."""
    if asset.local() is not None:
        fetch(asset, cache)
    elif not asset.cached(cache).exists():
        import requests

        try:
            with requests.get(
                asset.source,
                headers={"Accept-Encoding": "identity"},
                stream=True,
                timeout=(REACH_TIMEOUT, REACH_TIMEOUT),
            ) as response:
                response.raise_for_status()
                _refuse_size(asset, _length(response))
        except requests.RequestException as error:
            raise AssetError(
                f"Asset '{asset.source}' cannot be had: {error}.", hint=WITHOUT_NETWORK
            ) from error


def deliver(
    asset: Asset,
    host: Host,
    remote: str,
    *,
    mode: int = 0o644,
    only: Path | None = None,
    cache: Path | None = None,
    progress: Progress | None = None,
    timeout: float = 1800,
) -> bool:
    """Put the asset at `remote` on the host, within `timeout` seconds, and set its mode.

    Where the host has it already, nothing is downloaded or sent. Returns whether it was sent.
    `only`: a folder that alone may have it (`carried`).
    """
    script = '[ -f "$1" ] && sha256sum <"$1" || true'
    found = host.sh(script, remote, timeout=timeout, probe=True).out.split()
    if found[:1] == [asset.sha256]:
        host.run("chmod", "--", f"{mode:o}", remote)
        return False
    path = carried(asset, only) if only else fetch(asset, cache, progress)
    host.put(path, remote, mode, timeout=timeout)
    return True


def wrong(asset: Asset, path: Path, found: str) -> AssetError:
    """The error of a file at `path` whose digest is `found`."""
    return AssetError(
        f"Asset '{asset.source}' is not what was expected: '{path}' has"
        f"\nsha256 {found}, expected\n       {asset.sha256}",
        hint="either the source has changed, or the expected digest is wrong",
    )


CHUNK = 1 << 18  # bytes read at a time
CONNECT_TIMEOUT = 30.0  # seconds
REACH_TIMEOUT = 10.0  # seconds, of a look whether there is a network
READ_TIMEOUT = 60.0  # seconds without a single byte
ATTEMPTS = 5  # connections in a row that bring nothing before a download is given up
PAUSE = 1.0  # seconds before the second attempt; doubled for each further one
LIMIT = 64 << 30  # bytes of an asset, and...
RESERVE = 1 << 30  # ... those that a download leaves on the cache's file system
INTERVAL = 5.0  # seconds between two lines about a download
PATIENCE = 7200.0  # seconds that a download may take in all
LOCK_TIMEOUT = 7200.0  # seconds that another download of the same asset may take
WITHOUT_NETWORK = (
    "without a network: 'python -m harness prefetch FOLDER' where there is one, then carry that and"
    " run with --offline=FOLDER"
)


def progress_printer(
    tell: Callable[[str], None], what: str, clock: Callable[[], float] = time.monotonic
) -> Progress:
    """A callback that tells of a download's progress, one line per `INTERVAL` seconds."""
    last = clock()

    def progress(done: int, total: int | None) -> None:
        nonlocal last
        if clock() - last >= INTERVAL:
            last = clock()
            whole = "" if total is None else f" of {total / 1e6:.0f}"
            tell(f"{what}: {done / 1e6:.0f}{whole} MB")

    return progress


def into_cache(asset: Asset, path: Path, progress: Progress | None) -> None:
    """Download the asset to `path` in the cache, unless it is there. Raises AssetError."""
    from filelock import FileLock, Timeout  # here, as requests below: collecting needs neither

    path.parent.mkdir(parents=True, exist_ok=True)
    held = path.with_name(f".{path.name}.lock")
    lock = FileLock(held, timeout=LOCK_TIMEOUT)
    try:
        with lock:
            if path.exists() and digest(path) == asset.sha256:
                return
            path.unlink(missing_ok=True)  # it has rotted: its name is its digest
            _download(asset, path, progress)
    except Timeout as error:
        raise AssetError(
            f"Asset '{asset.source}' is being downloaded by another process for more than"
            f" {LOCK_TIMEOUT:.0f} s.",
            hint=f"who holds it: fuser {shlex.quote(str(held))}",
        ) from error


def take(asset: Asset, path: Path, progress: Progress | None = None) -> None:
    """Bring what the asset's source has to `path`, whatever its digest. Raises AssetError.

    What an earlier attempt has left there is not resumed: it may be of another file.
    """
    path.unlink(missing_ok=True)
    local = asset.local()
    if local is None:
        _complete(asset, path, progress)
    elif local.is_file():
        shutil.copyfile(local, path)
    else:
        raise _no_file(asset, local)


def _no_file(asset: Asset, local: Path) -> AssetError:
    return AssetError(f"Asset '{asset.source}' is no file on this machine ('{local}').")


def _download(asset: Asset, path: Path, progress: Progress | None) -> None:
    part = path.with_name(f"{path.name}.part")
    resumed = part.exists()
    _complete(asset, part, progress)
    found = digest(part)
    if resumed and found != asset.sha256:
        part.unlink()  # what an earlier run left may be of another file: once more, from the start
        _complete(asset, part, progress)
        found = digest(part)
    if found != asset.sha256:
        # Kept for a look, out of the way: what comes next must not resume it.
        raise wrong(asset, part.replace(path.with_name(f"{path.name}.rejected")), found)
    with part.open("rb") as stream:
        os.fsync(stream.fileno())
    part.replace(path)


def _complete(asset: Asset, part: Path, progress: Progress | None) -> None:
    """Download the rest of `part`, over as many connections as it takes."""
    import requests

    failures, deadline = 0, time.monotonic() + PATIENCE
    while True:
        before = _size(part)
        try:
            return _once(asset, part, progress, deadline)
        except requests.HTTPError as error:
            status = error.response.status_code if error.response is not None else 0
            if status < 500:
                raise AssetError(
                    f"Asset '{asset.source}' cannot be had: the server answers {error}."
                ) from error
            reason: Exception = error
        except requests.RequestException as error:
            reason = error
        failures = 1 if _size(part) > before else failures + 1
        if failures >= ATTEMPTS:
            raise AssetError(
                f"Asset '{asset.source}' cannot be fetched ({_size(part)} bytes have come):"
                f" {reason}",
                hint=WITHOUT_NETWORK,
            ) from reason
        time.sleep(PAUSE * 2 ** (failures - 1))


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _once(asset: Asset, part: Path, progress: Progress | None, deadline: float) -> None:
    """One connection: append the rest, or all of it where the server knows no ranges."""
    import requests

    start = _size(part)
    # 'identity': offsets and digest are those of the file, not of a compressed form of it.
    headers = {"Accept-Encoding": "identity"}
    if start:
        headers["Range"] = f"bytes={start}-"
    with requests.get(
        asset.source, headers=headers, stream=True, timeout=(CONNECT_TIMEOUT, READ_TIMEOUT)
    ) as response:
        if response.status_code == 416:  # nothing beyond `start`
            if response.headers.get("Content-Range") != f"bytes */{start}":
                part.unlink()
                raise requests.ConnectionError(f"the server has less than the {start} bytes here")
            return
        response.raise_for_status()
        if response.status_code == 206:
            if not response.headers.get("Content-Range", "").startswith(f"bytes {start}-"):
                raise requests.ConnectionError("the server sent another range than was asked for")
        else:
            start = 0
        length = _length(response)
        total = asset.size if length is None else start + length
        _refuse_size(asset, total)
        with part.open("ab" if start else "wb") as stream:
            while chunk := _some(response):
                _allow(asset, part, start + len(chunk), deadline)
                stream.write(chunk)
                start += len(chunk)
                if progress is not None:
                    progress(start, total)
        if total is not None and start < total:
            raise requests.ConnectionError(f"it broke off after {start} of {total} bytes")


def _length(response: requests.Response) -> int | None:
    """The bytes that a server says will come."""
    length = response.headers.get("Content-Length")
    return int(length) if length and length.isdecimal() else None


def _refuse_size(asset: Asset, found: int | None) -> None:
    if found is not None and asset.size not in (None, found):
        raise AssetError(
            f"Asset '{asset.source}' is not what was expected: the server has {found} bytes,"
            f" expected {asset.size}.",
            hint="either the source has changed, or the expected size is wrong",
        )


def _some(response: requests.Response) -> bytes:
    """What has come, and not a whole chunk: a byte now and then would put off the deadline."""
    import requests
    import urllib3

    try:
        chunk: bytes = response.raw.read1(CHUNK)
    except urllib3.exceptions.HTTPError as error:
        raise requests.ConnectionError(error) from error
    return chunk


def _allow(asset: Asset, part: Path, size: int, deadline: float) -> None:
    """Raise AssetError where a download has no end in bytes or in time, or fills the disk."""
    if time.monotonic() > deadline:
        why = f"is not whole after {PATIENCE:.0f} s"
    elif size > LIMIT:
        why = f"has more than {LIMIT >> 30} GiB"
    elif shutil.disk_usage(part.parent).free < RESERVE:
        why = f"leaves less than {RESERVE >> 30} GiB on the file system of '{part.parent}'"
    else:
        return
    raise AssetError(f"Asset '{asset.source}' {why} ({size} bytes have come).")
