"""A lab by its command line: brought up, looked into, crashed, and told what became of it."""

from __future__ import annotations

import errno
import json
import os
import re
import time
from pathlib import Path

import pytest

from tests.vlab.lab import command, nothing_runs
from vlab import boot, image, launch, machine, qemu, registry
from vlab.errors import VlabError
from vlab.process import Process
from vlab.qemu import GPU_ID, Settings

pytestmark = pytest.mark.timeout(3600)

CLOCK = 60  # seconds that an answer may take on a busy computer; a clock that was not set is behind


def test_a_lab_that_panics_is_named_with_its_console_and_leaves_nothing() -> None:
    name = f"lab-by-command-{os.getpid()}"
    up = command("up", "--name", name, timeout=None)
    assert up.returncode == 0, up.stderr
    gpus = command("ssh", name, "--", "lspci", "-n", "-d", GPU_ID)
    assert len(gpus.stdout.splitlines()) == Settings().gpus, gpus.stderr
    assert "Linux version" in command("ssh", name, "--", "cat /proc/version | head -n 1").stdout
    crash = command("ssh", name, "--", "echo c > /proc/sysrq-trigger")
    assert crash.returncode == 255, "ssh's own status: the connection broke"
    nothing_runs(name)  # the panic ends the emulator
    status = command("status")
    assert status.returncode == 0
    told = re.search(rf"'{name}' is swept away: .*; console: (.+)", status.stderr)
    assert told, status.stderr
    assert "kernel panic: Kernel panic - not syncing: sysrq triggered crash" in told[0]
    assert "sysrq triggered crash" in Path(told[1]).read_text(errors="replace")
    assert name not in status.stdout
    assert not (registry.machines_root() / name).exists()


def test_the_next_lab_goes_on_where_the_first_had_booted() -> None:
    names = [f"lab-{number}-of-{os.getpid()}" for number in (1, 2)]
    look = "cat /etc/machine-id; date +%s; journalctl -q -n 1 -o cat; ls /dev/virtio-ports"
    seen = []
    for name in names:
        up = command("up", "--name", name, timeout=None)
        assert up.returncode == 0, up.stderr
        seen.append(command("ssh", name, "--", look).stdout.splitlines())
        now = time.time()
        assert command("down", name).returncode == 0
        assert abs(now - int(seen[-1][1])) < CLOCK, "its clock is right"
        assert seen[-1][2:] == [seen[-1][2], "gpu0"], "its journal is read, its GPU is there"
    assert "goes on from a saved state" in up.stderr
    assert seen[0][0] != seen[1][0], "each is a machine of its own"


# A boot sector that writes itself to the next one, and halts (BIOS, int 13h, function 3).
WRITER = bytes.fromhex("31c0 8ec0 b80103 b90200 ba8000 bb007c cd13 f4 ebfd").ljust(510, b"\0")


def test_a_lab_that_stands_still_on_a_full_disk_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(boot, "DEADLINE", 120.0)  # where it is not told, its time is over
    lab_image = image.ensure(print)
    monkeypatch.setenv("VLAB_CACHE", str(tmp_path))
    lab = registry.enter("lab", lab_image, Settings(), "tcg")
    disk = lab.folder / "disk.img"
    disk.write_bytes(WRITER + b"\x55\xaa" + bytes(1 << 20))
    full = {"event": "pwritev", "iotype": "write", "errno": errno.ENOSPC}
    file = {"driver": "file", "filename": str(disk)}
    drive = {"driver": "blkdebug", "image": file, "inject-error": [full]}
    command = [
        *lab_image.emulator("qemu-system-x86_64"),
        *("-L", str(lab_image.firmware), "-M", "q35", "-m", "64"),
        *("-nodefaults", "-display", "none", *qemu.monitor()),
        *("-blockdev", json.dumps({"driver": "raw", "node-name": "disk", "file": drive})),
        *("-device", "virtio-blk-pci,drive=disk"),
    ]
    child, port = launch.launch(lab.folder, lambda port, sockets: command, bound=True)
    lab = registry.update(lab, child=child, process=Process.of(child.pid), port=port)
    try:
        with pytest.raises(VlabError, match=r"stands still.*: the file system of .*/lab is full"):
            boot.wait(lab)
    finally:
        machine.stop(lab)
