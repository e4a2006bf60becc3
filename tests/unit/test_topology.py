"""What the picture of the devices may say: what was seen, and no more."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from reports.html import figures, topology
from reports.record.record import Record
from reports.texts.texts import translator
from tests.unit import records

CARD, BRIDGE = ("10de", "2331"), ("10de", "1234")


def _member(bdf: str, group: str, model: tuple[str, str] = CARD, **more: str) -> dict[str, Any]:
    names = {"bdf": bdf, "group": group, "vendor": model[0], "device": model[1]}
    return names | {"driver": "vfio-pci", "pci_class": "0302"} | more


def _run(
    folder: Path, members: list[dict[str, Any]], argv: list[str], pci: list[str], **facts: object
) -> Record:
    found = {"gpu": {"members": members}, "container": {"machine": {"argv": argv}, "pci": pci}}
    events: list[tuple[str, dict[str, object]]] = [
        ("stage", {"name": name, "state": "ok", "seconds": 1.0, "how": "provisioned", "facts": f})
        for name, f in found.items()
    ]
    return records.write(folder, stages={}, events=events, facts=facts)


def _ports(*hosts: str) -> list[str]:
    return [f"vfio-pci,host={bdf},bus=rp{n}" for n, bdf in enumerate(hosts)]


TWO = [_member("0000:41:00.0", "40"), _member("0000:81:00.0", "57")]
INSIDE = ["00:06.0 0604: 1b36:000c", "02:00.0 0302: 10de:2331", "01:00.0 0302: 10de:2331 (rev a1)"]


def test_two_cards_of_one_model_are_told_apart(tmp_path: Path) -> None:
    """By the order in which QEMU was told of them, not by what they are."""
    argv = ["-device", *_ports("0000:81:00.0", "0000:41:00.0")]
    gpus = [{"bus_id": "00000000:02:00.0", "name": "H100"}]
    found = topology.of(_run(tmp_path / "run", TWO, argv, INSIDE, gpus=gpus))
    assert {number: [m.bdf for m in group] for number, group in found.groups.items()} == {
        "40": ["0000:41:00.0"],
        "57": ["0000:81:00.0"],
    }
    assert [(i.bdf, i.host, i.port, i.name) for i in found.inner] == [
        ("01:00.0", "0000:81:00.0", "rp0", ""),
        ("02:00.0", "0000:41:00.0", "rp1", "H100"),
    ]


def test_what_cannot_be_paired_is_not(tmp_path: Path) -> None:
    run = _run(tmp_path / "run", TWO, _ports("0000:81:00.0"), INSIDE)
    assert [inner.host for inner in topology.of(run).inner] == ["", ""]
    picture = figures.topology(run, translator("en"))
    assert picture.count("which one it is, the record does not say") == 2
    assert "root port" not in picture


def test_every_group_has_a_box_and_a_bridge_is_one(tmp_path: Path) -> None:
    members = [*TWO, _member("0000:40:01.0", "40", BRIDGE, pci_class="0604", driver="pcieport")]
    argv = _ports("81:00.0", "0000:41:00.0")  # QEMU takes an address without its domain, too
    picture = figures.topology(_run(tmp_path / "run", members, argv, INSIDE), translator("en"))
    for said in ("IOMMU group 40", "IOMMU group 57", "PCI bridge  pcieport", "root port rp0"):
        assert said in picture.replace("&#160;", " ")
    assert "40, 57" not in picture


def test_nothing_known_is_no_picture(tmp_path: Path) -> None:
    assert figures.topology(records.write(tmp_path / "run"), translator("en")) == ""
