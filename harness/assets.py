"""Assets: files by URL or path, known by their sha256, from a cache on the runner to a host.

Nothing is used whose digest has not been computed from the bytes at hand. A cached file can also be
put there by hand (`Asset.cached` says where), which is the way for a runner without a network.
"""

from __future__ import annotations

import hashlib
import re
import urllib.parse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from platformdirs import user_cache_path

from harness.errors import LabError
from harness.host import Host

Progress = Callable[[int, int | None], None]  # bytes so far, bytes in all (None: not told)


class AssetError(LabError):
    """An asset that cannot be had, or is not what its digest says."""


@dataclass(frozen=True)
class Asset:
    """A file: `source` is an http(s) or file URL or a path, `sha256` is in hexadecimal."""

    source: str
    sha256: str

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[0-9a-fA-F]{64}", self.sha256):
            raise AssetError(
                f"Asset '{self.source}' needs a sha256 of 64 hexadecimal digits, not"
                f" '{self.sha256}'.",
                hint="sha256sum FILE",
            )
        object.__setattr__(self, "sha256", self.sha256.lower())

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
        """Where the file is, or would be, in the cache."""
        return (cache or cache_dir()) / self.sha256


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
            raise AssetError(f"Asset '{asset.source}' is no file on this machine ('{local}').")
        found = digest(local)
        if found != asset.sha256:
            raise wrong(asset, local, found)
        return local
    path = asset.cached(cache)
    # Now: it brings libraries that take long to load, and collecting tests needs none of them.
    from harness.download import into_cache

    into_cache(asset, path, progress)
    return path


def deliver(
    asset: Asset,
    host: Host,
    remote: str,
    *,
    mode: int = 0o644,
    cache: Path | None = None,
    progress: Progress | None = None,
    timeout: float = 1800,
) -> bool:
    """Have the asset at `remote` on the host; whether it had to be sent (within `timeout` s).

    Nothing is downloaded, either, where the host already has it. Its mode is set in any case.
    """
    script = '[ -f "$1" ] && sha256sum <"$1" || true'
    found = host.sh(script, remote, timeout=timeout, probe=True).out.split()
    if found[:1] == [asset.sha256]:
        host.run("chmod", "--", f"{mode:o}", remote)
        return False
    host.put(fetch(asset, cache, progress), remote, mode, timeout=timeout)
    return True


def wrong(asset: Asset, path: Path, found: str) -> AssetError:
    """The error of a file at `path` whose digest is `found`."""
    return AssetError(
        f"Asset '{asset.source}' is not what was expected: '{path}' has"
        f"\nsha256 {found}, expected\n       {asset.sha256}",
        hint="either the source has changed, or the expected digest is wrong",
    )
