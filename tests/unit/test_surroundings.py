"""What explains a run that goes otherwise, as this very machine has it."""

from __future__ import annotations

import hashlib
import platform
from pathlib import Path

from fixtures.platform import host_inventory
from fixtures.platform.stage import containerd_versions
from harness.host.host import Host

DMI = Path("/sys/class/dmi/id")
PCI = Path("/sys/bus/pci/devices")
MACHINE = Path("/etc/machine-id")
CTR = """Client:
  Version:  1.7.24~ds1
  Revision: 1.7.24~ds1-6
  Go version: go1.24.4

Server:
  Version:  1.7.25
  Revision: abc
  UUID: %s
"""


def test_they_are_read_from_the_host(local: Host, tmp_path: Path) -> None:
    functions = [path.name for path in PCI.iterdir()] if PCI.is_dir() else []
    driver, bridge = tmp_path / "a driver.run", tmp_path / "bridge"
    driver.write_text("a driver")
    bridge.write_text("#!/bin/sh\necho CNI bridge plugin v1.1.1 >&2\necho more\n")
    bridge.chmod(0o755)
    found = host_inventory.probe_inventory(
        local, [*functions, "ffff:ff:1f.7"], plugins=str(tmp_path), driver=str(driver)
    )
    cpus = Path("/proc/cpuinfo").read_text()
    assert all(value in " ".join(cpus.split()) for value in found.cpu)
    files = [DMI / name for name in ("bios_vendor", "bios_version", "bios_date")]
    firmware = [" ".join(file.read_text().split()) for file in files if file.is_file()]
    assert found.firmware == tuple(firmware)
    linked = [name for name in functions if (PCI / name / "current_link_width").is_file()]
    assert [line.split()[0] for line in found.links] == linked
    assert found.hostname == (platform.node(),)
    total = int(Path("/proc/meminfo").read_text().split()[1])  # its first line, in kB
    assert found.memory[0] == f"{total / 1048576:.1f} GiB"
    assert found.cni == ("CNI bridge plugin v1.1.1",)
    assert found.driver == (hashlib.sha256(b"a driver").hexdigest(),)
    if MACHINE.is_file():
        salted = hashlib.sha256(f"passthrough-acceptance {MACHINE.read_text()}".encode())
        assert found.machine == (salted.hexdigest()[:16],), "not the machine-id itself"


def test_what_is_not_there_is_left_out(local: Host, tmp_path: Path) -> None:
    nowhere = str(tmp_path / "nowhere")
    found = host_inventory.probe_inventory(local, [], plugins=nowhere, driver=nowhere)
    assert (found.cni, found.driver, found.links) == ((), (), ())


def test_the_versions_of_containerd_are_the_same_at_every_start() -> None:
    assert containerd_versions(CTR % "a") == containerd_versions(CTR % "b")
    assert containerd_versions(CTR % "a") == ("Client: 1.7.24~ds1 1.7.24~ds1-6, Server: 1.7.25 abc")
