"""No link of a guest image leads to the host's own files: not of what is read, nor of what is
written, nor of where something is mounted."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from fixtures.rootfs import contents, mounted
from fixtures.rootfs.mounted import GuestTree, How
from harness.host.command import CommandFailed
from harness.host.host import ANY, Host
from harness.undo.journal import Journal

HOOK = "/usr/share/oci/hooks/prestart/hook.sh"
# In place of entering the mount namespace, which takes root: the tree is there already.
NSENTER = '#!/bin/sh\nshift 2\nexec "$@"\n'


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A folder of the host's."""
    folder = tmp_path / "outside"
    (folder / "hooks").mkdir(parents=True)
    (folder / "file").write_text("the host's\n")
    return folder


@pytest.fixture
def tree(local: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> GuestTree:
    """A guest's tree, in a folder."""
    program = tmp_path / "bin" / "nsenter"
    program.parent.mkdir()
    program.write_text(NSENTER)
    program.chmod(0o755)
    (program.parent / "python3").symlink_to(os.path.realpath(sys.executable))
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    root = tmp_path / "guest"
    for folder in ("usr/share", "usr/libexec", "etc", "home", "var/log"):
        (root / folder).mkdir(parents=True)
    return GuestTree(local, Journal(local, "run"), "/proc/1/ns/mnt", "rootfs", str(root))


def link(tree: GuestTree, at: str, to: str | Path) -> None:
    Path(tree.path(at)).symlink_to(to)


def files(folder: Path) -> dict[str, str]:
    return {str(path): path.read_text() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.finding("F5", "a link of the guest image leads what is written to the host's files")
@pytest.mark.parametrize("at", ["usr/share/oci", "usr/share"])
def test_what_is_written_stays_in_the_image(tree: GuestTree, outside: Path, at: str) -> None:
    before = files(outside)
    Path(tree.path("usr/share")).rmdir()
    Path(tree.path(at)).parent.mkdir(exist_ok=True)
    link(tree, at, outside)  # which is there on the host, and not in the guest
    tree.write(HOOK, "text", "0755")
    assert files(outside) == before
    inside = Path(tree.root) / str(outside).lstrip("/")
    [written] = [path for path in inside.rglob("hook.sh")]
    assert (written.read_text(), written.stat().st_mode & 0o777) == ("text", 0o755)
    assert tree.run("cat", "--", tree.path(HOOK)).out == "text"


@pytest.mark.parametrize("to", ["/usr/libexec/oci", "../libexec/oci", "../../../usr/libexec/oci"])
@pytest.mark.parametrize("there", [True, False], ids=["there", "dangling"])
def test_links_that_lead_inside_work(tree: GuestTree, to: str, there: bool) -> None:
    link(tree, "usr/share/oci", to)
    if there:
        Path(tree.path("usr/libexec/oci")).mkdir()
    tree.write(HOOK, "text", "0755")
    assert Path(tree.path("usr/libexec/oci/hooks/prestart/hook.sh")).read_text() == "text"
    assert contents._mode(tree, HOOK, follow=False) == "755 regular file"


@pytest.mark.finding("F5", "a link of the guest image leads what is read to the host's files")
@pytest.mark.parametrize("to", ["{outside}", "{up}{outside}"], ids=["absolute", "relative"])
def test_what_is_read_is_the_guests(tree: GuestTree, outside: Path, to: str) -> None:
    up = "../" * 30
    link(tree, "etc/own", to.format(outside=outside, up=up.rstrip("/")))
    link(tree, "etc/file", outside / "file")
    for name in ("etc/own/file", "etc/file"):
        found = tree.run("cat", "--", tree.path(name), ok=ANY)
        assert (found.rc, found.out) == (1, "")
    assert tree.run("ls", tree.path("etc/own"), ok=ANY).out == ""


def test_a_link_in_the_place_of_a_file_is_no_way_out(tree: GuestTree, outside: Path) -> None:
    before = files(outside)
    link(tree, "etc/my.repo", outside / "file")
    tree.clear("etc/my.repo")
    assert files(outside) == before
    assert not os.path.lexists(tree.path("etc/my.repo"))
    link(tree, "etc/my.repo", outside / "file")
    tree.run("tee", tree.path("etc/my.repo"), input="text", ok=ANY)
    assert files(outside) == before


@pytest.mark.finding("F5", "a link of the guest image leads to a device, or into /proc of the host")
@pytest.mark.parametrize(
    ("to", "how", "says"),
    [
        ("/pipe", "file", "it is neither a file nor a folder"),
        ("/pipe", "mount", "it is neither a file nor a folder"),
        ("/etc/own", "file", "Too many levels of symbolic links"),
        ("/usr/share/none/../../../..", "file", "goes back from a folder that does not exist"),
    ],
)
def test_what_is_no_file_of_the_image_is_refused(
    tree: GuestTree, to: str, how: How, says: str
) -> None:
    os.mkfifo(tree.path("pipe"))
    link(tree, "etc/own", to)
    with pytest.raises(CommandFailed, match=says):
        tree.run("tee", tree.path("etc/own"), input="text", how=how)


def test_what_is_mounted_in_the_image_is_none_of_its_files(tree: GuestTree) -> None:
    """Here the image's root is the machine's own, which has /proc mounted."""
    machine = GuestTree(tree.host, tree.journal, tree.namespace, tree.stage, "/proc/self/root")
    for path in ("proc/self/root/etc/passwd", "proc/sys/kernel/ostype"):
        assert "leads out of" in machine.run("cat", machine.path(path), ok=ANY).err
        assert "/proc/self/root" not in machine.run("echo", machine.path("etc")).out
    said = machine.run("cat", machine.path("proc/self/root/etc/passwd"), how="mount", ok=ANY)
    assert "Too many levels of symbolic links" in said.err  # magic links are none of a guest's
    assert machine.run("cat", machine.path("proc/sys/kernel/ostype"), how="mount").out == "Linux\n"


@pytest.mark.finding("F5", "a link of the guest image leads dnf, rpm or modinfo to the host")
def test_a_folder_that_programs_of_the_host_join_is_the_guests(
    tree: GuestTree, outside: Path
) -> None:
    paths = [tree.path(path) for path in mounted.JOINED]
    tree.run(*paths, how="own")
    link(tree, "etc/dnf", "../home")  # they come to the same place
    link(tree, "usr/sysimage", "/home")
    tree.run(*paths, how="own")
    link(tree, "var/lib", outside)
    with pytest.raises(CommandFailed, match=f"would take {outside}/dnf for {tree.root}/"):
        tree.run(*paths, how="own")


def test_a_path_within_a_word_is_the_guests_too(tree: GuestTree, outside: Path) -> None:
    link(tree, "etc/yum.repos.d", outside)
    word = f"--setopt=reposdir={tree.path('etc/yum.repos.d')},/etc/yum.repos.d"
    said = tree.run("echo", word).out.strip()
    assert said == f"--setopt=reposdir={tree.root}{outside},/etc/yum.repos.d"


def test_a_program_that_is_missing_is_told(tree: GuestTree) -> None:
    found = tree.host.ask(*tree._words(("no-such-program", tree.path("etc")), "file"))
    assert (found.rc, found.err) == (127, "env: 'no-such-program': No such file or directory\n")


def test_a_message_does_not_show_all_of_the_program(tree: GuestTree) -> None:
    with pytest.raises(CommandFailed) as caught:
        tree.run("false", tree.path("etc"))
    assert f"false {tree.root}/etc' on 'local' ended with exit status 1" in caught.value.message
    assert len(caught.value.message) < len(mounted.BENEATH) / 2
