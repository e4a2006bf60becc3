"""kata's release in a lab: what is taken from it, and what is refused, on a small one."""

from __future__ import annotations

import io
import shutil
import subprocess
import tarfile
import tomllib
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from vlab import image, recipe, registry
from vlab.build import Build
from vlab.errors import VlabError
from vlab.parts import kata
from vlab.qemu import Settings
from vlab.standins.guest import rootfs

X86_64, AARCH64 = 62, 183
CONFIGURATION = """\
[hypervisor.qemu]
path = "/opt/kata/bin/qemu-system-x86_64"
kernel_params = "cgroup_no_v1=all"
# default_vcpus, with which
# default_maxvcpus = 4 would be an example
default_vcpus = 1
#enable_hugepages = true
#disable_image_nvdimm = true
block_device_aio = "io_uring"
[agent.kata]
dial_timeout = 45
[runtime]
static_sandbox_resource_mgmt=false
create_container_timeout = 60
"""


def elf(machine: int) -> bytes:
    return b"\x7fELF\x02\x01\x01" + bytes(11) + machine.to_bytes(2, "little") + bytes(44)


class Release:
    """The folder /opt/kata of a release, and its archive."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "release/opt/kata"
        self.archive = folder / "kata-static-3.15.0-amd64.tar.xz"
        text = CONFIGURATION.replace("# default_maxvcpus = 4 would be", "# 4 would be")
        text = text.replace("default_vcpus = 1\n", "default_vcpus = 1\ndefault_maxvcpus = 0\n")
        for name in kata.PROGRAMS:
            self.write(name, elf(X86_64))
        self.write(kata.CONFIGURATION, text.encode())
        self.write(kata.VERSION, b"3.15.0\n")
        self.write_image({"usr/bin/kata-agent": elf(X86_64) + b"agent"})

    def write(self, name: str, content: bytes) -> None:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)

    def write_image(self, files: dict[str, bytes]) -> None:
        tree, target = self.folder.parent / "tree", self.folder / kata.IMAGE
        shutil.rmtree(tree, ignore_errors=True)
        for name, content in files.items():
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            (tree / name).write_bytes(content)
        bare = self.folder.parent / "bare"
        bare.unlink(missing_ok=True)
        subprocess.run(["mke2fs", "-q", "-t", "ext4", "-d", tree, bare, "2M"], check=True)
        target.parent.mkdir(parents=True, exist_ok=True)
        rootfs.pack_partitioned(bare, target.with_name("kata-ubuntu.image"))
        target.unlink(missing_ok=True)
        target.symlink_to("kata-ubuntu.image")

    def pack(self) -> Path:
        with tarfile.open(self.archive, "w:xz", preset=0) as archive:
            archive.add(self.folder, "./opt/kata")
        return self.archive


@pytest.fixture
def release(tmp_path: Path) -> Release:
    return Release(tmp_path)


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def build(tmp_path: Path, said: list[str]) -> Build:
    build = Build(tmp_path / "work", tmp_path / "log", said.append)
    build.work.mkdir()
    return build


Form = Callable[[Release], Path]
FORMS = pytest.mark.parametrize(
    "form", [Release.pack, lambda release: release.folder], ids=["archive", "folder"]
)


@FORMS
def test_a_release_is_installed_where_it_is_at_home(
    build: Build, release: Release, form: Form, said: list[str]
) -> None:
    agent = elf(X86_64) + b"with a policy"
    policy = {"etc/kata-opa/allow-all.rego": b"default AllowRequestsFailingPolicy := true"}
    release.write_image({"usr/bin/kata-agent": agent, **policy})
    kata.take(build, form(release))
    kata.install(build)
    assert said == []
    for name in kata.PROGRAMS:
        assert (build.root / "opt/kata" / name).read_bytes() == elf(X86_64)
        assert (build.root / "opt/kata" / name).stat().st_mode & 0o777 == 0o755
        assert str((build.root / "usr/local" / name).readlink()) == f"/opt/kata/{name}"
    assert (build.guest / "usr/bin/kata-agent").read_bytes() == agent
    assert str((build.guest / "usr/sbin/init").readlink()) == "/usr/bin/kata-agent"
    assert (build.guest / "etc/kata-opa/allow-all.rego").read_bytes() == policy.popitem()[1]
    assert str((build.root / "opt/kata" / kata.IMAGE).readlink()) == "/srv/lab/rootfs.img"


def test_the_configuration_is_the_releases_but_for_what_emulation_wants(
    build: Build, release: Release
) -> None:
    kata.take(build, release.pack())
    kata.install(build)
    text = (build.root / "etc/kata-containers/configuration.toml").read_text()
    value = tomllib.loads(text)
    hypervisor = value["hypervisor"]["qemu"]
    assert hypervisor["path"] == "/opt/kata/bin/qemu-system-x86_64"
    assert hypervisor["kernel_params"].startswith("cgroup_no_v1=all ")
    assert hypervisor["disable_image_nvdimm"] is True
    assert value["agent"]["kata"]["dial_timeout"] == 1500
    assert value["runtime"]["static_sandbox_resource_mgmt"] is True
    assert "# 4 would be an example" in text


def test_qemu_is_the_labs_with_the_initrd_of_its_kernel(build: Build, release: Release) -> None:
    kata.take(build, release.pack())
    kata.install(build)
    wrapper = build.root / "opt/kata/bin/qemu-system-x86_64"
    words = wrapper.read_text().replace("/usr/bin/", "").replace("exec taskset", "exec echo")
    done = subprocess.run(
        ["sh", "-c", words, "sh", "-name", "a b"], capture_output=True, text=True, check=True
    )
    assert done.stdout.split(" ", 2)[0] == "--cpu-list"
    assert done.stdout.endswith(
        "qemu-system-x86_64 -name a b -initrd /usr/share/kata-containers/vmlinuz.container.initrd\n"
    )


@FORMS
@pytest.mark.parametrize("name", kata.PIECES)
def test_a_release_that_is_not_all_there_is_refused(
    build: Build, release: Release, form: Form, name: str
) -> None:
    (release.folder / name).unlink()
    with pytest.raises(VlabError, match=f"has no opt/kata/{name}: it is none, or not all of one"):
        kata.take(build, form(release))


def test_an_archive_of_something_else_is_refused(build: Build, tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "other.tar.gz", "w:gz") as archive:
        archive.addfile(tarfile.TarInfo("opt/other"), io.BytesIO())
    with pytest.raises(VlabError, match="has no opt/kata/bin/containerd-shim-kata-v2"):
        kata.take(build, tmp_path / "other.tar.gz")


@pytest.mark.parametrize("part", [0, 1, 100, -1, -100])
def test_an_archive_that_was_not_fetched_to_its_end_is_refused(
    build: Build, release: Release, part: int
) -> None:
    whole = release.pack().read_bytes()
    release.archive.write_bytes(whole[: part if part >= 0 else len(whole) // 2])
    with pytest.raises(VlabError, match="is no tar archive, or not all of one"):
        kata.take(build, release.archive)


def test_a_file_that_is_no_archive_is_refused(build: Build, tmp_path: Path) -> None:
    (tmp_path / "page.tar.xz").write_text("<html>404: Not Found</html>" * 100)
    with pytest.raises(VlabError, match="is no tar archive, or not all of one"):
        kata.take(build, tmp_path / "page.tar.xz")


@pytest.mark.parametrize(("machine", "word"), [(AARCH64, "for aarch64"), (40, "for machine 40")])
def test_a_release_for_another_architecture_is_refused(
    build: Build, release: Release, machine: int, word: str
) -> None:
    release.write("bin/kata-runtime", elf(machine))
    with pytest.raises(VlabError, match=f"kata-runtime in .* is {word}, and .* wants x86_64: take"):
        kata.take(build, release.pack())


def test_an_agent_for_another_architecture_is_refused(build: Build, release: Release) -> None:
    release.write_image({"usr/bin/kata-agent": elf(AARCH64)})
    with pytest.raises(VlabError, match=r"kata-agent in .* is for aarch64, and .* wants x86_64"):
        kata.take(build, release.pack())


@pytest.mark.parametrize("files", [{"usr/bin/other": b""}, None], ids=["none in it", "no image"])
def test_an_image_without_an_agent_is_refused(
    build: Build, release: Release, files: dict[str, bytes] | None
) -> None:
    if files is None:
        release.write("share/kata-containers/kata-ubuntu.image", bytes(8 << 20))
    else:
        release.write_image(files)
    with pytest.raises(VlabError, match="has no /usr/bin/kata-agent in an ext4 file system"):
        kata.take(build, release.pack())


def test_a_version_that_was_not_tried_is_told(
    build: Build, release: Release, said: list[str]
) -> None:
    release.write(kata.VERSION, b"3.21.0\n")
    kata.take(build, release.pack())
    assert said == ["vlab: kata 3.21.0 has not been tried in the lab (3.15.0 has)"]


def test_a_configuration_with_other_keys_is_refused(build: Build, release: Release) -> None:
    release.write(kata.CONFIGURATION, CONFIGURATION.encode().replace(b"dial_timeout", b"dial"))
    with pytest.raises(VlabError, match=r"has 'dial_timeout' 0 times, and not once: the lab knows"):
        kata.take(build, release.pack())


@pytest.mark.parametrize(
    "link",
    [
        "../../../../../../outside",
        "/etc/passwd",
        "kata-containers.img",  # itself
    ],
)
def test_nothing_outside_of_an_archive_is_read_or_written(
    build: Build, release: Release, tmp_path: Path, link: str
) -> None:
    (tmp_path / "outside").write_text("not the archive's")
    with tarfile.open(release.archive, "w:xz", preset=0) as archive:
        for name in (*kata.PROGRAMS, kata.CONFIGURATION, kata.VERSION):
            archive.add(release.folder / name, f"opt/kata/{name}")
        image = tarfile.TarInfo(f"opt/kata/{kata.IMAGE}")
        image.type, image.linkname = tarfile.SYMTYPE, link
        archive.addfile(image)
        for name in ("../../escaped", f"{tmp_path}/escaped", "opt/kata/../../../escaped"):
            archive.addfile(tarfile.TarInfo(name), io.BytesIO())
    before = sorted(path for path in tmp_path.rglob("*") if build.work not in path.parents)
    with pytest.raises(VlabError, match=f"has no opt/kata/{kata.IMAGE}"):
        kata.take(build, release.archive)
    assert before == sorted(p for p in tmp_path.rglob("*") if build.work not in p.parents)


def test_links_within_an_archive_are_followed(build: Build, release: Release) -> None:
    shim, runtime = kata.PROGRAMS
    with tarfile.open(release.archive, "w:xz", preset=0) as archive:
        for name in (runtime, kata.CONFIGURATION, kata.VERSION):
            archive.add(release.folder / name, f"opt/kata/{name}")
        archive.add(release.folder / "share/kata-containers/kata-ubuntu.image", "opt/kata/an.image")
        for name, kind, target in (
            (shim, tarfile.LNKTYPE, f"opt/kata/{runtime}"),
            (kata.IMAGE, tarfile.SYMTYPE, "/opt/kata/again"),
            ("again", tarfile.SYMTYPE, "an.image"),
        ):
            link = tarfile.TarInfo(f"opt/kata/{name}")
            link.type, link.linkname = kind, target
            archive.addfile(link)
    kata.take(build, release.archive)
    kata.install(build)
    assert (build.root / "opt/kata" / shim).read_bytes() == elf(X86_64)


@FORMS
def test_each_release_has_an_image_of_its_own_beside_that_of_the_stand_in(
    release: Release, form: Form
) -> None:
    first = recipe.digest(str(form(release)))
    assert first == recipe.digest(str(form(release))) != recipe.digest()
    release.write("bin/kata-runtime", elf(X86_64) + b"another")
    assert first != recipe.digest(str(form(release)))


def test_a_release_that_is_not_there_is_told_before_anything_is_built(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VLAB_CACHE", str(tmp_path / "cache"))
    with pytest.raises(
        VlabError, match=r"cannot be read \(No such file .*vlab.kata in the profile"
    ):
        image.ensure(print, str(tmp_path / "none.tar.xz"))
    assert not (tmp_path / "cache").exists()


def test_a_lab_fits_by_the_kata_in_it_wherever_its_archive_lies() -> None:
    lab = SimpleNamespace(
        settings=Settings(kata="here.tar.xz"), recipe="a", accel="tcg", stays=True
    )
    assert registry.fits(lab, "a", Settings(kata="/there.tar.xz"))  # type: ignore[arg-type]
    assert not registry.fits(lab, "b", Settings())  # type: ignore[arg-type]
