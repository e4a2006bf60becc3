"""The lab's disk image: built once, kept under the digest of its recipe, checked before it is used.

What is in it, and how it is made, is in ``vlab.recipe``.
"""

import contextlib
import fcntl
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from vlab import emulator, hold, manifest, namespace, recipe
from vlab.errors import VlabError, unusable

NEEDED_BYTES = 4 << 30  # seen at its fullest: 3.3 GiB
KEPT_OTHERS = 1  # images of other recipes: the one used last
DIGEST = "[0-9a-f]" * 16  # the name of an image's folder, as a pattern
ANEW = "anew-"  # a cache in the cache, for an image that is built to be timed
PATIENCE = 10.0  # seconds that a build has to end when told to

Say = Callable[[str], None]


@dataclass(frozen=True)
class Image:
    """A finished image in the cache."""

    folder: Path

    @property
    def disk(self) -> Path:
        return self.folder / "lab.img"

    @property
    def kernel(self) -> Path:
        return self.folder / "vmlinuz"

    @property
    def initrd(self) -> Path:
        return self.folder / "initrd.img"

    @property
    def host_key(self) -> str:
        """The ssh host key's public half, as a known_hosts line wants it."""
        return (self.folder / "host_key.pub").read_text(encoding="ascii").strip()

    def emulator(self, program: str) -> list[str]:
        """The command line that starts a QEMU program out of the image's own packages."""
        return emulator.command(self.folder / "emulator", program)

    @property
    def firmware(self) -> Path:
        return self.folder / "emulator" / "firmware"


def cache_root() -> Path:
    """The folder of images and machines; VLAB_CACHE moves it."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    folder = os.environ.get("VLAB_CACHE") or f"{base}/passthrough-acceptance/vlab"
    return Path(folder).absolute()


def ensure(say: Say, kata: str = "") -> Image:
    """The image of this recipe, built now if the cache has none that is sound.

    ``kata`` is a release of kata to be used in place of the stand-in, if there is one.

    An image appears under its name by one rename when it is whole, so a build that was interrupted
    by anything leaves nothing that could be taken for one. A second builder waits for the first.
    Raises VlabError.
    """
    folder = cache_root() / recipe.digest(kata)
    try:
        if not manifest.unchanged(folder):
            make_cache()
            with _alone(say):
                if not _sound(folder, say):
                    _build(folder, say, kata)
                manifest.remember(folder)
        os.utime(folder)  # "last used", for prune
    except OSError as error:
        raise unusable(cache_root(), error) from error
    return Image(folder)


def prune(say: Say) -> None:
    """Delete what killed builds left, and images of other recipes that nobody used lately."""
    root = cache_root()
    for folder in [*root.glob("*.partial"), *root.glob(f"{ANEW}*")]:
        if not hold.held(folder / hold.OWNER):
            delete(folder)
    images = [path for path in root.iterdir() if (path / "lab.img").is_file()]
    images.sort(key=lambda path: path.stat().st_mtime, reverse=True)
    for folder in images[KEPT_OTHERS:]:
        if not _in_use(folder):
            say(f"vlab: deleting the image of an older recipe: {folder}")
            delete(folder)
    for note in root.glob(f"{DIGEST}.*"):  # of images that are gone, or that failed to be built
        if not note.with_suffix("").is_dir():
            note.unlink()


def make_cache() -> Path:
    """The cache's folder, made if need be. Raises VlabError."""
    try:
        cache_root().mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise VlabError(
            f"the folder {cache_root()} for the lab's image cannot be made ({error.strerror}); "
            "name another one with VLAB_CACHE"
        ) from error
    return cache_root()


@contextmanager
def _alone(say: Say) -> Iterator[None]:
    """Hold the cache's lock: one process at a time checks, builds or deletes."""
    with (cache_root() / "build.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("vlab: another process is building or checking an image; waiting for it ...")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _sound(folder: Path, say: Say) -> bool:
    if not folder.is_dir():
        return False
    wrong = manifest.damage(folder)
    if wrong:
        say(f"vlab: the cached image {folder} is damaged ({wrong}); it is built again")
    return not wrong


def _build(folder: Path, say: Say, kata: str) -> None:
    prune(say)
    _check_space()
    # A name of its own: what a killed build may still run does not write into this one.
    partial = folder.with_name(f"{folder.name}-{secrets.token_hex(4)}.partial")
    partial.mkdir()
    log = folder.with_name(f"{folder.name}.log")
    log.unlink(missing_ok=True)
    log.touch(0o600)  # it has apt's settings: the password of a proxy, maybe
    say(f"vlab: building the lab image, once (log: {log})")
    try:
        _carry_out(say, partial, log, *([Path(kata).expanduser().absolute()] if kata else []))
        partial.chmod(0o700)  # the disk has the private half of the lab's host key
        delete(folder)  # only a damaged one can be there
        partial.rename(folder)
    except BaseException:
        delete(partial)
        raise


def _check_space() -> None:
    free = shutil.disk_usage(cache_root()).free
    if free < NEEDED_BYTES:
        raise VlabError(
            f"building the lab image needs {_gigabytes(NEEDED_BYTES)} on the file system of "
            f"{cache_root()}, and {_gigabytes(free)} are free; make room, or name another "
            "folder with VLAB_CACHE"
        )


def _carry_out(say: Say, *arguments: Path) -> None:
    """Run the recipe in namespaces of its own; what it prints is progress."""
    command = namespace.entered(sys.executable, "-m", recipe.__name__, *map(str, arguments))
    with tempfile.TemporaryFile("w+", errors="replace") as errors:
        with subprocess.Popen(
            command,
            cwd=Path(__file__).parents[1],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            encoding="utf-8",
            errors="replace",
            # A Ctrl-C is for this process, which then ends that one and removes what it made.
            start_new_session=True,
        ) as process:
            try:
                for line in process.stdout or ():
                    say(line.rstrip("\n"))
            except BaseException:
                _end(process)
                raise
        if process.returncode:
            errors.seek(0)
            raise VlabError(errors.read().strip() or f"the build ended with {process.returncode}")


def _end(process: subprocess.Popen[str]) -> None:
    """End the build. It goes last of its namespace, so that nothing writes when it is gone."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(PATIENCE)
            return


def delete(folder: Path) -> None:
    """Remove a folder, with files in it that belong to subordinate ids of this user."""
    try:
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(folder)
    except PermissionError:
        subprocess.run(namespace.entered("rm", "-rf", "--", str(folder)), check=True)


def _in_use(folder: Path) -> bool:
    """Whether a running machine names a file of the image on its command line."""
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if f"{folder}/".encode() in (process / "cmdline").read_bytes():
                return True
    return False


def _gigabytes(count: int) -> str:
    return f"{count / 1e9:.1f} GB"
