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


CNITOOL = "github.com/containernetworking/cni/cnitool@v1.3.0"
AT = f"{CNITOOL.replace('@', '/@v/')}.info"


@pytest.mark.parametrize(
    ("said", "module", "why"),
    [
        # What go 1.24.4 printed of a proxy out of reach,
        (
            f'go: {CNITOOL}: {CNITOOL}: Get "http://127.0.0.1:9/{AT}": dial tcp 127.0.0.1:9: '
            "connect: connection refused\n",
            CNITOOL,
            f'Get "http://127.0.0.1:9/{AT}": dial tcp 127.0.0.1:9: connect: connection refused',
        ),
        # of one that has no such version,
        (
            f"go: {CNITOOL}: {CNITOOL}: reading https://m.example/{AT}: 403 Forbidden\n"
            "\tserver response: This module version is not available.\n",
            CNITOOL,
            f"reading https://m.example/{AT}: 403 Forbidden",
        ),
        # of certificates that the machine does not know,
        (
            f'go: {CNITOOL}: {CNITOOL}: Get "https://m.example/{AT}": tls: failed to verify '
            "certificate: x509: certificate signed by unknown authority\n",
            CNITOOL,
            f'Get "https://m.example/{AT}": tls: failed to verify certificate: x509: certificate '
            "signed by unknown authority",
        ),
        # of settings that forbid it,
        (
            f"go: {CNITOOL}: module lookup disabled by GOPROXY=off\n",
            CNITOOL,
            "module lookup disabled by GOPROXY=off",
        ),
        # of no proxy and no network,
        (
            "go: downloading github.com/containernetworking/cni v1.3.0\n"
            f"go: {CNITOOL}: reading github.com/containernetworking/cni/go.mod at revision v1.3.0: "
            "git ls-remote -q origin in /tree/go/pkg/mod/cache/vcs/4ce5: exit status 128:\n"
            "\tfatal: unable to access 'https://github.com/containernetworking/cni/': Could not "
            "resolve host: github.com\n",
            CNITOOL,
            "reading github.com/containernetworking/cni/go.mod at revision v1.3.0: git ls-remote "
            "-q origin in /tree/go/pkg/mod/cache/vcs/4ce5: exit status 128",
        ),
        # of a module that another one imports,
        (
            "go: downloading github.com/opencontainers/runtime-spec v1.2.1\n"
            "pkg/mod/github.com/x@v1/image/builder.go:23:2: github.com/opencontainers/runtime-"
            "spec@v1.2.1: reading file:///proxy/spec/@v/v1.2.1.zip: no such file or directory\n",
            "github.com/opencontainers/runtime-spec@v1.2.1",
            "reading file:///proxy/spec/@v/v1.2.1.zip: no such file or directory",
        ),
        # and of one for a newer Go.
        (
            "go: golang.org/x/tools/gopls@v0.24.0: golang.org/x/tools/gopls@v0.24.0 requires go >= "
            "1.27.0 (running go 1.24.4; GOTOOLCHAIN=local)\n",
            "golang.org/x/tools/gopls@v0.24.0",
            "golang.org/x/tools/gopls@v0.24.0 requires go >= 1.27.0 (running go 1.24.4; "
            "GOTOOLCHAIN=local)",
        ),
    ],
)
def test_a_go_module_that_cannot_be_had_is_one_sentence(
    said: str, module: str, why: str, tmp_path: Path
) -> None:
    text = sources.reason(said, tmp_path / "log")
    assert text.startswith(f"the Go module '{module}' could not be had ({why}): ")
    assert str(tmp_path / "log") in text
    assert "\n" not in text


@pytest.mark.parametrize(
    "said",
    [
        "E: Sub-process dpkg returned an error code (1)\n",
        "go: downloading github.com/containernetworking/cni v1.3.0\n"
        "# github.com/NVIDIA/go-nvml/pkg/nvml\n"
        "pkg/nvml/zz_generated.api.go:677:24: undefined: Return\n",
    ],
)
def test_other_failures_are_not_explained_away(said: str, tmp_path: Path) -> None:
    assert sources.reason(said, tmp_path) == ""


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
