"""What explains a run that goes otherwise, as this very machine has it."""

from __future__ import annotations

from pathlib import Path

from fixtures import surroundings
from harness.host import Host

DMI = Path("/sys/class/dmi/id")
PCI = Path("/sys/bus/pci/devices")


def test_they_are_read_from_the_host(local: Host) -> None:
    functions = [path.name for path in PCI.iterdir()] if PCI.is_dir() else []
    found = surroundings.look(local, [*functions, "ffff:ff:1f.7"])
    cpus = Path("/proc/cpuinfo").read_text()
    assert all(value in " ".join(cpus.split()) for value in found["cpu"])
    files = [DMI / name for name in ("bios_vendor", "bios_version", "bios_date")]
    firmware = [" ".join(file.read_text().split()) for file in files if file.is_file()]
    assert found.get("firmware", []) == firmware
    linked = [name for name in functions if (PCI / name / "current_link_width").is_file()]
    assert [line.split()[0] for line in found.get("links", [])] == linked
