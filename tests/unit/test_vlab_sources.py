"""Where an image comes from: this machine's apt, in the forms that its sources can have."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from vlab import namespace, packages, preflight, sources
from vlab.errors import VlabError
from vlab.qemu import Settings

SECURITY = "http://deb.debian.org/debian-security/|main|Debian|Debian-Security\n"


@pytest.mark.parametrize(
    ("listing", "mirror"),
    [
        # deb822 or one line, apt says the same; the first archive wins
        (SECURITY + "https://m.example/d/|main|Debian|Debian\n", "https://m.example/d"),
        # before the first apt-get update there is no origin
        (SECURITY.replace("Debian", "") + "http://m/debian/|main||\n", "http://m/debian"),
        ("http://m/debian/|contrib|Debian|Debian\n", sources.DEFAULT_MIRROR),
        ("https://s/archive/debian/20260101T0Z/|main||\n", "https://s/archive/debian/20260101T0Z"),
        ("file:/srv/debian/|main|Debian|Debian\n", "copy:/srv/debian"),
        ("file:///srv/debian|main||\n", "copy:///srv/debian"),
        ("http://archive.ubuntu.com/ubuntu/|main|Ubuntu|Ubuntu\n", sources.DEFAULT_MIRROR),
        ("", sources.DEFAULT_MIRROR),
    ],
)
def test_the_machines_own_mirror_is_found(listing: str, mirror: str) -> None:
    assert sources.choose_mirror(listing) == mirror


def test_proxies_and_what_a_snapshot_needs_are_passed_on() -> None:
    dump = """\
Acquire "";
Acquire::http "";
Acquire::http::Proxy "http://proxy:3128";
Acquire::https::Proxy::m.example "DIRECT";
Acquire::https::CaInfo "/etc/ssl/lab.pem";
Acquire::Check-Valid-Until "false";
Acquire::Languages:: "none";
APT::Install-Suggests "1";
"""
    assert sources.apt_settings(lambda *_: dump) == [
        'Acquire::http::Proxy "http://proxy:3128"',
        'Acquire::https::Proxy::m.example "DIRECT"',
        'Acquire::https::CaInfo "/etc/ssl/lab.pem"',
        'Acquire::Check-Valid-Until "false"',
    ]


# What mmdebstrap 1.3.5 printed with a mirror where nobody listens.
NO_MIRROR = """\
I: running apt-get update...
Ign:1 http://127.0.0.1:9/debian trixie InRelease
Err:1 http://127.0.0.1:9/debian trixie InRelease
  Could not connect to 127.0.0.1:9 (127.0.0.1). - connect (111: Connection refused)
Reading package lists...
E: Failed to fetch http://127.0.0.1:9/debian/dists/trixie/InRelease  Could not connect to 127.0.0.1
E: Some index files failed to download. They have been ignored, or old ones used instead.
E: mmdebstrap failed to run
"""


def test_a_mirror_out_of_reach_is_one_sentence(tmp_path: Path) -> None:
    text = sources.reason(NO_MIRROR, tmp_path / "log")
    assert text.startswith("http://127.0.0.1:9/debian/dists/trixie/InRelease could not be fetched")
    assert "(Could not connect to 127.0.0.1)" in text
    assert str(tmp_path / "log") in text
    assert "\n" not in text


# What it printed for a suite that the mirror does not have.
NO_SUITE = """\
I: running apt-get update...
Get:1 http://m.example/debian trixie InRelease [140 kB]
Ign:2 http://m.example/debian trixie-backports InRelease
Err:3 http://m.example/debian trixie-backports Release
  404  Not Found [IP: 192.0.2.80 80]
Reading package lists...
E: The repository 'http://m.example/debian trixie-backports Release' does not have a Release file.
E: mmdebstrap failed to run
"""


def test_a_mirror_without_a_suite_is_one_sentence(tmp_path: Path) -> None:
    text = sources.reason(NO_SUITE, tmp_path / "log")
    assert text.startswith("the Debian mirror http://m.example/debian has no suite 'trixie-backpo")
    assert str(tmp_path / "log") in text
    assert "\n" not in text


def test_other_failures_are_not_explained_away(tmp_path: Path) -> None:
    assert sources.reason("E: Sub-process dpkg returned an error code (1)\n", tmp_path) == ""


def test_an_architecture_without_a_lab_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    for door in (packages.architecture, lambda: preflight.check(Settings())):
        with pytest.raises(VlabError, match="x86_64 only for now, and this machine is aarch64"):
            door()


@pytest.mark.parametrize(
    ("said", "remedy"),
    [
        # util-linux 2.38 for a user without a line in /etc/subuid; 2.37; a kernel that refuses
        ("unshare: no line matching user in /etc/subuid", "usermod --add-subuids"),
        ("unshare: unrecognized option '--map-auto'", "util-linux 2.38 or newer"),
        ("unshare: unshare failed: Operation not permitted", "sysctl user.max_user_namespaces"),
    ],
)
def test_where_no_namespace_is_given_the_remedy_is_said(
    said: str, remedy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = tmp_path / "unshare"
    script.write_text(f'#!/bin/sh\necho "{said}" >&2\nexit 1\n')
    script.chmod(0o755)
    (tmp_path / "newuidmap").symlink_to("/bin/true")
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(VlabError, match=remedy) as caught:
        namespace.entered("true")
    assert "\n" not in str(caught.value)


def test_what_is_entered_dies_with_its_parent() -> None:
    """The build's last process is gone when its first one is, even by SIGKILL."""
    inner = "sh -c 'sleep 1000 & echo started; wait'"
    try:
        program = namespace.entered("sh", "-c", inner)
    except VlabError as error:
        pytest.skip(str(error))
    if "unshare" not in program:
        pytest.skip("root without the right to make namespaces, as in a container")
    with subprocess.Popen(program, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "started\n"
        process.kill()
        # The pipe is open as long as one of them lives.
        assert process.stdout.read() == ""
