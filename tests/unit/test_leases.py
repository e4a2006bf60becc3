"""Of containerd's leases those go that came with ours and are of before the host's present boot."""

from __future__ import annotations

import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from fixtures.common.leases import END_DEAD
from harness.host.host import BOOT_ID

CTR = """#!/bin/sh
case "$1 $2" in
    "leases ls") cat "$LEASES" ;;
    "leases rm") echo "$4" >>"$LEASES.gone" ;;
    *) exit 9 ;;
esac
"""
EXPIRES = "containerd.io/gc.expire=2030-01-01T00:00:00Z"


@pytest.fixture
def leases(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What `ctr leases ls` prints; beside it, what was ended."""
    program = tmp_path / "ctr"
    program.write_text(CTR)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setenv("LEASES", str(tmp_path / "leases"))
    [booted] = [
        int(line.split()[1])
        for line in Path("/proc/stat").read_text().splitlines()
        if line.startswith("btime")
    ]
    boot = datetime.fromtimestamp(booted, UTC)
    earlier, later = ((boot + timedelta(hours=h)).isoformat("T", "seconds") for h in (-1, 1))
    lines = [
        "ID CREATED AT LABELS ",
        f"765272392-HlEi {earlier} {EXPIRES}",
        f"12--a-b {earlier} {EXPIRES}",
        f"1-kn0w {earlier} {EXPIRES}",
        f"2-l_-r {later} {EXPIRES}",
        f"3-keep {earlier} ",
        f"somebodys-own {earlier} {EXPIRES}",
        f"2026-11-28-mine {earlier} {EXPIRES}",
        f"7-long-er {earlier} {EXPIRES}",
        f"accept {earlier} {EXPIRES}",
    ]
    (tmp_path / "leases").write_text("\n".join(lines) + "\n")
    return tmp_path / "leases.gone"


def end(then: str) -> None:
    subprocess.run(["sh", "-euc", END_DEAD, "sh", then, "1-kn0w"], check=True)


@pytest.mark.finding("C4", "a lease of an import or a start outlives a host that went down")
def test_those_that_died_with_the_host_go(leases: Path) -> None:
    end("another boot")
    assert leases.read_text().splitlines() == ["765272392-HlEi", "12--a-b"]


def test_none_goes_while_the_host_is_up(leases: Path) -> None:
    end(Path(BOOT_ID).read_text().strip())
    assert not leases.exists()
