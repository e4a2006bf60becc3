"""What a run takes from outside, and a folder with all of it, to be carried in without a network.

A profile names each such thing as an `AssetFile`, in its own text or by its asset lock, a file that
holds nothing else (`harness.profile.source`). The folder is laid out as the cache of assets.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, Field

from harness.errors import BadUsage, LabError
from harness.profile.schema import Section, Wanted
from harness.record.facts import facts, shown
from harness.run.assets import (
    RESERVE,
    Asset,
    AssetError,
    carried,
    digest,
    fetch,
    into_cache,
    progress_printer,
)

FILL = "fill it where there is a network: python -m harness prefetch {}, with the same profile"


def _source(value: str) -> str:
    try:
        asset = Asset(value, "0" * 64)
        asset.local()
    except (LabError, ValueError) as error:
        raise ValueError("neither") from error
    if not asset.name:
        raise ValueError("its path names no file")
    return value


Sha256 = Annotated[
    str,
    Field(pattern=r"^[0-9a-f]{64}$"),
    Wanted(
        "a sha256 of 64 hexadecimal digits in small letters, as 'sha256sum FILE' prints it, such "
        f"as {hashlib.sha256().hexdigest()}"
    ),
]
Url = Annotated[
    str,
    Field(min_length=1),
    AfterValidator(_source),
    Wanted("a URL (http, https or file) or a path, such as https://example.org/plugins.tgz"),
]


class AssetFile(Section):
    """A file by URL or path of the runner, known by its digest; `size` in bytes.

    `licence` is for people: under which terms it is used, and where they stand.
    """

    source: Url
    sha256: Sha256
    size: Annotated[int, Field(gt=0)] | None = None
    licence: str = ""

    def asset(self) -> Asset:
        """The asset for `harness.run.assets`."""
        return Asset(self.source, self.sha256, self.size)


@facts
class Taken:
    """A file that a run takes from outside, and the key of the profile that names it."""

    key: str
    source: str
    sha256: str
    size: int | None
    licence: str


@facts
class Outside:
    """All that a run takes from outside; `folder` is the one that it comes from, offline."""

    files: tuple[Taken, ...]
    pinned: Mapping[str, str] = shown("Assets (sha256)", "外部文件（sha256）")
    folder: str = shown("Offline, from", "离线，来自文件夹")


def outside(profile: BaseModel, folder: Path | None) -> Outside:
    """For the record: what a run of this profile takes from outside."""
    files = tuple(Taken(key, **file.model_dump()) for key, file in named(profile))
    pinned = {file.key: f"{Asset(file.source, file.sha256).name} {file.sha256}" for file in files}
    return Outside(files, pinned, str(folder or ""))


def named(section: object, at: str = "") -> Iterator[tuple[str, AssetFile]]:
    """The assets that a profile names, each with its key, such as network.archive."""
    if isinstance(section, AssetFile):
        yield at, section
        return
    inner: Mapping[str, Any] = {}
    if isinstance(section, BaseModel):
        inner = dict(section)
    elif isinstance(section, Mapping):
        inner = section
    for key, value in inner.items():
        yield from named(value, f"{at}.{key}" if at else key)


def pinned(value: Any) -> Any:
    """A section's values, assets by their digests alone: wherever it comes from, it is the same."""
    if isinstance(value, AssetFile):
        return value.sha256
    if isinstance(value, BaseModel):
        value = dict(value)
    if isinstance(value, Mapping):
        return {key: pinned(item) for key, item in value.items()}
    return value


def require(profile: BaseModel, folder: Path) -> None:
    """Raise BadUsage unless the folder has all assets of a profile, whole and unchanged."""
    hint = FILL.format(folder)
    if not folder.is_dir():
        raise BadUsage(f"--offline: there is no folder '{folder}'.", hint=hint)
    problems = []
    for key, file in named(profile):
        try:
            carried(file.asset(), folder)
        except AssetError as error:
            problems.append(f"{key}: {error.message}")
    if problems:
        lines = "\n".join(problems)
        raise BadUsage(f"--offline: '{folder}' is not what the profile names:\n{lines}", hint=hint)


def fill(files: Mapping[str, AssetFile], folder: Path, say: Callable[[str], None]) -> None:
    """Bring all assets, by their keys, into a folder; what is there and sound stays. AssetError."""
    folder.mkdir(parents=True, exist_ok=True)
    missing = [f for f in files.values() if not f.asset().cached(folder).exists()]
    needed, free = sum(f.size or 0 for f in missing), shutil.disk_usage(folder).free
    if needed + RESERVE > free:
        raise AssetError(
            f"{needed / 1e9:.1f} GB are to come, and '{folder}' has room for {free / 1e9:.1f}."
        )
    for key, file in files.items():
        path = stow(file.asset(), folder, say)
        say(f"{key}: {path.name}, {path.stat().st_size} bytes, sha256 {file.sha256}")


def stow(asset: Asset, folder: Path, say: Callable[[str], None]) -> Path:
    """Bring an asset into a folder, and return its path there. Raises AssetError."""
    path = asset.cached(folder)
    if asset.local() is None:
        into_cache(asset, path, progress_printer(say, asset.source))
    elif not path.exists() or digest(path) != asset.sha256:
        part = path.with_name(f"{path.name}.part")
        shutil.copyfile(fetch(asset), part)
        part.replace(path)
    return carried(asset, folder)
