"""Downloads into the cache of assets: one at a time each, resumed, verified before they count."""

from __future__ import annotations

import os
from pathlib import Path

import requests
from filelock import FileLock, Timeout

from harness import context
from harness.assets import Asset, AssetError, Progress, digest, wrong

CHUNK = 1 << 18  # bytes read at a time
CONNECT_TIMEOUT = 30.0  # seconds
READ_TIMEOUT = 60.0  # seconds without a single byte
ATTEMPTS = 5  # connections in a row that bring nothing before a download is given up
PAUSE = 1.0  # seconds before the second attempt; doubled for each further one
LOCK_TIMEOUT = 7200.0  # seconds that another download of the same asset may take


def into_cache(asset: Asset, path: Path, progress: Progress | None) -> None:
    """Have the asset at `path`, which is its own in the cache; AssetError. See `assets.fetch`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(f"{path}.lock", timeout=LOCK_TIMEOUT)
    try:
        with lock.acquire(cancel_check=_cancelled):
            if path.exists() and digest(path) == asset.sha256:
                return
            path.unlink(missing_ok=True)  # it has rotted: its name is its digest
            _download(asset, path, progress)
    except Timeout as error:
        raise AssetError(
            f"Asset '{asset.source}' is being downloaded by another process for more than"
            f" {LOCK_TIMEOUT:.0f} s.",
            hint=f"who holds it: fuser '{path}.lock'",
        ) from error


def _cancelled() -> bool:
    context.check()  # raises, where this thread is to be ended
    return False


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
    """Download what `part` lacks, by as many connections as it takes."""
    failures = 0
    while True:
        before = _size(part)
        try:
            return _once(asset, part, progress)
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
                hint=f"without a network, put the file at '{part.with_suffix('')}' yourself;"
                f" its sha256 has to be {asset.sha256}",
            ) from reason
        context.pause(PAUSE * 2 ** (failures - 1))


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _once(asset: Asset, part: Path, progress: Progress | None) -> None:
    """One connection: append the rest, or all of it where the server knows no ranges."""
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
        length = response.headers.get("Content-Length")
        total = start + int(length) if length else None
        with part.open("ab" if start else "wb") as stream:
            for chunk in response.iter_content(CHUNK):
                context.check()
                stream.write(chunk)
                start += len(chunk)
                if progress is not None:
                    progress(start, total)
