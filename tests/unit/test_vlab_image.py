"""The image cache, without building an image: only the recipe's process is replaced."""

from __future__ import annotations

import fcntl
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.unit.patience import PATIENCE
from vlab import hold, image, manifest, namespace, packages, recipe
from vlab.build import Build
from vlab.errors import VlabError
from vlab.process import Process

# In the place of the recipe: it makes an image of one file, or does what a test is about.
RECIPE = """\
import os, pathlib, signal, subprocess, sys
sys.path.insert(0, {root!r})
from vlab import manifest
folder = pathlib.Path(sys.argv[1])
print("working", flush=True)
{work}
"""
WHOLE = '(folder / "lab.img").write_bytes(b"disk"); manifest.write(folder)'
HALF = '(folder / "lab.img").write_bytes(b"di"); '


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of our own on a disk that is large enough."""
    monkeypatch.setenv("VLAB_CACHE", str(tmp_path / "a cache"))
    monkeypatch.setattr(image, "NEEDED_BYTES", 1)
    return tmp_path / "a cache"


@pytest.fixture
def builder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Let a build do this instead of the recipe, in a process but not in namespaces."""

    def does(work: str) -> None:
        script = tmp_path / "recipe.py"
        script.write_text(RECIPE.format(root=str(Path(image.__file__).parents[1]), work=work))
        monkeypatch.setattr(
            namespace, "entered", lambda *words: [sys.executable, str(script), *words[-2:]]
        )

    return does


def folders(cache: Path) -> list[str]:
    return [path.name for path in cache.iterdir() if path.is_dir()]


@pytest.mark.finding("F20", "the private half of the lab's host key is for all to read")
def test_an_image_is_built_once_and_what_the_build_says_is_shown(
    cache: Path, builder: Callable[[str], None]
) -> None:
    said: list[str] = []
    builder(WHOLE)
    first, second = image.ensure(said.append), image.ensure(said.append)
    assert first == second
    assert first.disk.read_bytes() == b"disk"
    assert said.count("working") == 1
    assert first.folder.stat().st_mode & 0o777 == 0o700  # the disk has a private key in it


def test_a_build_that_fails_says_why_and_leaves_nothing(
    cache: Path, builder: Callable[[str], None]
) -> None:
    builder(HALF + 'sys.exit("the mirror is gone")')
    with pytest.raises(VlabError, match=r"^the mirror is gone$"):
        image.ensure(print)
    assert folders(cache) == []


def test_an_interrupted_build_ends_its_processes_and_leaves_nothing(
    cache: Path, builder: Callable[[str], None]
) -> None:
    builder(HALF + 'print("half", flush=True); signal.pause()')

    def interrupt(text: str) -> None:
        if text == "half":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        image.ensure(interrupt)
    assert folders(cache) == []


def test_a_build_that_ignores_sigterm_is_killed(
    cache: Path, builder: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(image, "PATIENCE", 0.1)
    deaf = "signal.signal(signal.SIGTERM, signal.SIG_IGN); "
    builder(deaf + "print(os.getpid(), flush=True); signal.pause()")
    builds: list[Process] = []

    def interrupt(text: str) -> None:
        if text.isdigit():
            builds.append(Process.of(int(text)))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        image.ensure(interrupt)
    assert not builds[0].alive()
    assert folders(cache) == []


def test_what_a_killed_build_left_is_swept_by_the_next(
    cache: Path, builder: Callable[[str], None]
) -> None:
    for name in ("0123456789abcdef-1234.partial", "anew-left", "anew-held"):
        (cache / name).mkdir(parents=True)
        (cache / name / "lab.img").write_bytes(b"di")
    for name in ("0123456789abcdef.log", "0123456789abcdef.sound"):
        (cache / name).touch()
    builder(WHOLE)
    with hold.inherited(cache / "anew-held" / hold.OWNER):
        assert image.ensure(print).disk.read_bytes() == b"disk"
    assert sorted(folders(cache)) == sorted([recipe.digest(), "anew-held"])
    assert {path.stem for path in cache.glob("*.*")} == {recipe.digest(), "build"}


def test_a_build_that_outlives_its_builder_does_not_meet_the_next_ones_files(
    cache: Path, builder: Callable[[str], None]
) -> None:
    seen: list[str] = []
    builder('print(folder.name, flush=True); sys.exit("no")')
    for _ in range(2):
        with pytest.raises(VlabError):
            image.ensure(seen.append)
    names = [line for line in seen if line.endswith(".partial")]
    assert len({*names}) == 2, names


def test_the_log_of_a_build_is_its_users_own(cache: Path, builder: Callable[[str], None]) -> None:
    builder(WHOLE)
    image.ensure(print)
    assert (cache / f"{recipe.digest()}.log").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda disk: disk.write_bytes(b"dusk"), "the content of lab.img has changed"),
        (lambda disk: disk.write_bytes(b"disks"), "lab.img has 5 bytes, not 4"),
        (lambda disk: disk.unlink(), "lab.img is missing"),
        (lambda disk: (disk.parent / manifest.NAME).unlink(), "manifest.json cannot be read"),
    ],
)
def test_a_damaged_image_is_built_again_and_never_used(
    cache: Path,
    builder: Callable[[str], None],
    damage: Callable[[Path], object],
    words: str,
) -> None:
    said: list[str] = []
    builder(WHOLE)
    damage(image.ensure(print).disk)
    assert image.ensure(said.append).disk.read_bytes() == b"disk"
    assert any(words in line and "built again" in line for line in said), said


def test_an_image_is_hashed_again_after_a_boot(
    cache: Path, builder: Callable[[str], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    builder(WHOLE)
    disk = image.ensure(print).disk
    about = disk.stat()
    disk.write_bytes(b"dusk")
    os.utime(disk, ns=(about.st_atime_ns, about.st_mtime_ns))  # as a failing disk changes a file
    assert image.ensure(print).disk.read_bytes() == b"dusk", "nothing to see before a boot"
    monkeypatch.setattr(manifest, "BOOT_ID", tmp_path / "boot_id")
    (tmp_path / "boot_id").write_text("another\n")
    assert image.ensure(print).disk.read_bytes() == b"disk"


def test_digest_does_not_mind_holes(tmp_path: Path) -> None:
    sparse, filled = tmp_path / "sparse", tmp_path / "filled"
    with sparse.open("wb") as file:
        file.seek(5_000_000)
        file.write(b"data")
        file.truncate(9_000_001)
    filled.write_bytes(sparse.read_bytes())
    assert filled.stat().st_blocks > sparse.stat().st_blocks, "no holes here: nothing was shown"
    assert manifest.digest(sparse) == manifest.digest(filled)
    moved = bytes(1 << 16) + sparse.read_bytes()
    filled.write_bytes(moved)
    assert manifest.digest(sparse) != manifest.digest(filled)


def test_a_second_builder_waits_for_the_first(cache: Path, builder: Callable[[str], None]) -> None:
    cache.mkdir()
    builder(WHOLE)
    said: list[str] = []
    waiting = threading.Event()

    def say(text: str) -> None:
        said.append(text)
        if "waiting for it" in text:
            waiting.set()

    with (cache / "build.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        second = threading.Thread(target=image.ensure, args=(say,))
        second.start()
        assert waiting.wait(PATIENCE)
        assert folders(cache) == []
    second.join(PATIENCE)
    assert folders(cache) == [recipe.digest()]


def test_old_images_go_when_no_machine_uses_them(
    cache: Path, builder: Callable[[str], None]
) -> None:
    for age, name in enumerate(("newest", "used", "oldest")):
        (cache / name).mkdir(parents=True)
        (cache / name / "lab.img").touch()
        os.utime(cache / name, (1e9 - age, 1e9 - age))
    said: list[str] = []
    builder(WHOLE)
    program = [sys.executable, "-c", "input()", str(cache / "used/lab.img")]
    with subprocess.Popen(program, stdin=subprocess.PIPE) as user:
        image.ensure(said.append)
        assert sorted(folders(cache)) == sorted([recipe.digest(), "newest", "used"])
        assert any("deleting" in line and "oldest" in line for line in said)
        user.communicate(b"\n")


def test_too_little_room_is_said_before_anything_is_made(
    cache: Path, builder: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(image, "NEEDED_BYTES", 1 << 60)
    with pytest.raises(VlabError, match=r"needs 1152921504\.6 GB .* and [0-9.]+ GB are free"):
        image.ensure(print)
    assert folders(cache) == []


def test_a_cache_that_cannot_be_made_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("VLAB_CACHE", str(tmp_path / "file/cache"))
    with pytest.raises(VlabError, match=r"cannot be made \(Not a directory\); name another"):
        image.ensure(print)


@pytest.mark.finding("F20", "a wheel of another content, which the lab would execute")
def test_wheels_come_by_their_digests(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[tuple[object, ...]] = []
    monkeypatch.setattr(Build, "run", lambda self, *words: ran.append(words))
    (tmp_path / "work").mkdir()
    recipe._wheels(Build(tmp_path / "work", tmp_path / "log", print))
    assert "--require-hashes" in ran[0]
    lines = Path(str(ran[0][-1])).read_text().splitlines()
    assert len(lines) == len(packages.WHEELS)
    assert all(re.fullmatch(r"\S+==\S+ --hash=sha256:[0-9a-f]{64}", line) for line in lines)
