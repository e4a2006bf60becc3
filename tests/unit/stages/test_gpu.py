"""gpu: which devices are taken, which are refused, and how each is bound and given back."""

from __future__ import annotations

import json
from typing import Any

import pytest

from fixtures.common import pci
from fixtures.common.findings import reported
from fixtures.gpu import in_use, vfio
from harness.record.trace import at_stage
from tests.unit.replay import ReplayHost
from tests.unit.stages.conftest import MakeLab
from tests.unit.stages.lab import Lab, Refusal, about, record

LIST = "for d in /sys/bus/pci/devices"
[GPU] = record().facts["gpu"]["devices"]
BDF, GROUP = GPU["bdf"], GPU["group"]
BEFORE = record().facts["gpu"]["before"][BDF]  # its driver
NODE = f"/dev/vfio/{GROUP}"
FUNCTIONS = record().facts["platform"]["pci_functions"]
DISK, INTERFACE = (
    next(bdf for bdf, why in record().facts["gpu"]["vital"].items() if why.startswith(kind))
    for kind in ("disk", "interface")
)
NO_NODE = ('[ -e "$1" ] ||', f"sh {NODE}")


# What `fixtures.gpu.vfio_program` prints.
ANSWER: dict[str, Any] = {
    "groups": [{"node": "/dev/vfio/6", "viable": True, "holders": []}],
    "devices": [
        {
            "bdf": "0000:01:00.0",
            "regions": {"BAR 1": [4096, 1], "BAR 4": [16384, 1], "configuration": [4096, 0]},
            "interrupts": {"INTx": 1, "MSI-X": 6},
            "can_reset": True,
            "before": "1af41043",
            "after": "1af41043",
        }
    ],
    "ranges": [[0, 0xFEDFFFFF], [0xFEF00000, (1 << 39) - 1]],
    "memory": {
        **{"asked": 1536 << 20, "free": 4 << 30, "mapped": 1536 << 20, "unmapped": 1536 << 20},
        **{"seconds": 1.5, "limit": -1},
    },
    "at": "",
}


def function(
    host: ReplayHost,
    bdf: str = BDF,
    *,
    ids: str = "",
    group: str = "",
    driver: str = "",
    override: str = "",
    reset: str | None = None,
) -> None:
    """A PCI function is otherwise than it was recorded; its driver until it is bound."""

    def listed(line: str) -> str:
        words = line.split("\t")
        if words[0] != bdf:
            return line
        bound = any("drivers_probe" in " ".join(argv) and bdf in argv for argv in host.asked)
        words[1:4] = ids.split() or words[1:4]
        words[6] = group or words[6]
        words[8] = vfio.DRIVER if bound else driver or words[8]
        words[9] = override or words[9]
        words[10] = words[10] if reset is None else reset
        return "\t".join(words)

    host.filter(LIST, by=lambda out: "\n".join(map(listed, out.splitlines())))


def functions() -> list[str]:
    """The addresses of the host's PCI functions that are no bridges."""
    [listing, *_] = next(
        r for (_, words), r in record().replies.items() if pci.LIST_DEVICES in words
    )
    lines = [line.split("\t") for line in listing.out.splitlines()]
    return [bdf for bdf, _, _, kind, *_ in lines if not kind.startswith("0x06")]


CANNOT = [
    Refusal(
        "no card",
        lambda host: function(host, ids="0xabcd 0x0001 0x020000"),
        (
            "no GPU to pass through",
            f"vendor {GPU['vendor']}",
            f"of the {FUNCTIONS} PCI devices of lab",
        ),
        "lspci -nn",
        "gpu.present",
    ),
    Refusal(
        "no IOMMU",
        lambda host: function(host, group="-"),
        (f"{BDF} is in no IOMMU group",),
        "the IOMMU is off: see the platform suite",
        "gpu.group",
    ),
    Refusal(
        "shares a group with the disk",
        lambda host: function(host, DISK, group=GROUP),
        ("the host itself needs", f"{DISK}: disk vda with /"),
        "IOMMU group of its own",
        "gpu.safe",
    ),
    Refusal(
        "shares a group with the way in",
        lambda host: function(host, INTERFACE, group=GROUP),
        (f"{INTERFACE}: interface enp0s1 by which we are logged in",),
        "select another device (gpu.bdf",
        "gpu.safe",
    ),
    Refusal(
        "no vfio-pci",
        lambda host: host.reply(
            "modprobe vfio-pci", status=1, err="modprobe: FATAL: Module vfio-pci not found.\n"
        ),
        ("modprobe vfio-pci", "Module vfio-pci not found"),
        "CONFIG_VFIO_PCI has to be 'm' or 'y'",
        "gpu.bind",
    ),
    Refusal(
        "a driver that does not let go",
        lambda host: host.reply(
            "driver_override",
            BDF,
            "drivers_probe",
            status=1,
            err=f"nvidia still has {BDF}: writing to .../unbind has not come back after 30 s\n",
        ),
        (f"{BDF} cannot be given to vfio-pci", "nvidia still has"),
        "nvidia-persistenced",
        "gpu.bind",
    ),
    Refusal(
        "no python",
        lambda host: host.reply(
            "drivers_probe",
            status=127,
            err="timeout: failed to run command 'python3': No such file or directory\n",
        ),
        ("On 'lab' the program 'python3' is missing",),
        "install python3",
        "gpu.bind",
    ),
    Refusal(
        "the kernel refuses",
        lambda host: host.reply(
            "drivers_probe", status=1, err="/sys/bus/pci/drivers_probe: Invalid argument\n"
        ),
        ("Invalid argument",),
        "dmesg",
        "gpu.bind",
    ),
]

# Rules about what has been bound.
NOT_BOUND = [
    Refusal(
        "no node",
        lambda host: host.reply(*NO_NODE, status=1),
        (f"IOMMU group {GROUP} has no node {NODE}",),
        "noiommu",
        "gpu.node",
    ),
]


@pytest.mark.parametrize("refusal", CANNOT, ids=about)
def test_what_cannot_be_bound_is_refused(lab: Lab, refusal: Refusal) -> None:
    refusal.of(lab, "gpu")


@pytest.mark.parametrize("refusal", CANNOT[:4], ids=about)
def test_nothing_is_changed_where_the_choice_is_refused(lab: Lab, refusal: Refusal) -> None:
    refusal.of(lab, "gpu")
    assert not lab.journal()


@pytest.mark.parametrize("refusal", NOT_BOUND, ids=about)
def test_what_is_not_bound_is_told(ready: Lab, refusal: Refusal) -> None:
    refusal.of(ready, "gpu")


def test_too_few_cards(make_lab: MakeLab) -> None:
    Refusal(
        "",
        lambda host: None,
        ("2 GPUs are to be passed through, and lab has 1", BDF),
        "gpu.count or gpu.bdf",
        "gpu.present",
    ).of(make_lab(settings={"gpu": {"count": 2}}), "gpu")


def test_a_card_by_its_address(make_lab: MakeLab) -> None:
    bound = make_lab(settings={"gpu": {"vendor": "ffff", "bdf": [BDF]}}).bring("gpu")
    assert [device.bdf for device in bound.devices] == [BDF]


def test_an_address_that_is_not_there(make_lab: MakeLab) -> None:
    Refusal("", lambda host: None, ("none has 0000:99:00.0",), "lspci -nn", "gpu.present").of(
        make_lab(settings={"gpu": {"bdf": ["0000:99:00.0"]}}), "gpu"
    )


def test_a_neighbour_in_the_group_is_bound_too(lab: Lab) -> None:
    other = next(bdf for bdf in functions() if bdf not in (BDF, DISK, INTERFACE))
    function(lab.host, other, group=GROUP, driver="snd_hda_intel")
    lab.host.reply("drivers_probe", other)
    lab.host.reply("Asks VFIO about", out=json.dumps(ANSWER))
    assert {member.bdf for member in lab.bring("gpu").members} == {BDF, other}
    assert sorted(what for what in lab.journal() if what.startswith("bind")) == sorted(
        [
            f"bind {other} to vfio-pci (it was bound to snd_hda_intel)",
            f"bind {BDF} to vfio-pci (it was bound to {BEFORE})",
        ]
    )


def beside(host: ReplayHost, *lines: str) -> None:
    """More functions on the host's bus."""
    host.filter(LIST, by=lambda out: "\n".join([*out.splitlines(), *lines]))


def listed(bdf: str, ids: str, group: str, driver: str = "-", override: str = "(null)") -> str:
    """A line of the listing."""
    words = [bdf, *ids.split(), "0x10de", "0x1463", group, "-", driver, override]
    return "\t".join([*words, "flr bus"])


@pytest.mark.parametrize("count", [2, 4, 14])
def test_several_cards_are_bound_and_asked_about_together(make_lab: MakeLab, count: int) -> None:
    lab = make_lab(settings={"gpu": {"count": count}})
    ids = f"0x{GPU['vendor']} 0x{GPU['device']} 0x{GPU['pci_class']}00"
    others = {f"0000:{64 + n:02x}:00.0": f"{100 + n}" for n in range(count - 1)}
    beside(lab.host, *(listed(bdf, ids, group) for bdf, group in others.items()))
    for bdf, group in others.items():
        lab.host.reply("drivers_probe", bdf)
        for script in ("settle", "0x3B67", '[ -e "$1" ] ||'):
            lab.host.reply(script, f"/dev/vfio/{group}", out="1\n")
    lab.host.reply("Asks VFIO about", out=json.dumps(ANSWER))
    found = lab.bring("gpu")
    assert found.addresses == (BDF, *others)
    assert [group.node for group in found.groups] == [
        NODE,
        *(f"/dev/vfio/{n}" for n in others.values()),
    ]
    assert len([what for what in lab.journal() if what.startswith("bind")]) == count
    [asked] = [words for words in lab.host.asked if "Asks VFIO about" in " ".join(words)]
    assert asked[-count:] == (
        f"{NODE}={BDF}",
        *(f"/dev/vfio/{n}={bdf}" for bdf, n in others.items()),
    )


def test_nvswitches_are_bound_with_the_gpus_and_are_none(make_lab: MakeLab) -> None:
    bdf = "0000:40:00.0"
    lab = make_lab(settings={"gpu": {"bdf": [BDF, bdf], "count": 2}})
    beside(lab.host, listed(bdf, "0x10de 0x22a3 0x068000", "100", "nvidia"))
    lab.host.reply("drivers_probe", bdf)
    for script in ("settle", "0x3B67", '[ -e "$1" ] ||'):
        lab.host.reply(script, "/dev/vfio/100", out="1\n")
    lab.host.reply("Asks VFIO about", out=json.dumps(ANSWER))
    found = lab.bring("gpu")
    assert (found.addresses, [one.bdf for one in found.switches]) == ((BDF,), [bdf])
    assert f"bind {bdf} to vfio-pci (it was bound to nvidia)" in lab.journal()
    assert found.groups[-1].node == "/dev/vfio/100"
    assert not [one for one in reported(lab.run) if one.id == "gpu.nvswitch"]


def test_nvswitches_that_stay_with_the_host_are_told(lab: Lab) -> None:
    beside(lab.host, listed("0000:40:00.0", "0x10de 0x22a3 0x068000", "100", "nvidia"))
    assert lab.bring("gpu").switches == ()
    [finding] = [one for one in reported(lab.run) if one.id == "gpu.nvswitch"]
    assert "go to no guest: 0000:40:00.0." in finding.text


def test_what_kata_will_not_plug_is_foreseen(lab: Lab) -> None:
    other = next(bdf for bdf in functions() if bdf not in (BDF, DISK, INTERFACE))
    assert other < BDF
    function(lab.host, other, group=GROUP)
    [foreseen] = [one for one in lab.bring("platform").foreseen if one.stage == "gpu"]
    assert foreseen.says.startswith(f"{BDF} would go to VFIO and to no guest")
    assert f"kata plugs {other}" in foreseen.says


def test_what_is_bound_already_is_left_alone(make_lab: MakeLab) -> None:
    lab = make_lab(ready=True)
    lab.host.reply('[ -e "$1" ] ||', f"sh {vfio.MODULE}")
    lab.bring("gpu")
    assert not lab.journal()


def test_what_is_bound_by_its_id_at_boot_still_gets_the_override(make_lab: MakeLab) -> None:
    lab = make_lab(ready=True)
    lab.host.reply('[ -e "$1" ] ||', f"sh {vfio.MODULE}")
    function(lab.host, override="(null)")
    lab.bring("gpu")
    assert lab.journal() == [f"bind {BDF} to vfio-pci (it was bound to vfio-pci)"]


def test_the_way_back_of_a_binding_is_to_the_driver_of_before(lab: Lab) -> None:
    function(lab.host, driver="nvidia")
    assert lab.bring("gpu").before == {BDF: "nvidia"}
    bind = next(e for e in lab.run.journal.entries if e.what.startswith("bind"))
    assert bind.undo == (tuple(vfio.rebind_argv(BDF, "", "nvidia")),)


def test_a_card_that_cannot_be_reset_is_a_finding(ready: Lab) -> None:
    function(ready.host, reset="")
    ready.bring("gpu")
    [finding] = reported(ready.run)
    assert (finding.id, finding.severity, finding.clause) == ("gpu.no-reset", "low", "gpu.bind")
    assert BDF in finding.text


def test_a_card_that_can_be_reset_is_none(ready: Lab) -> None:
    function(ready.host, reset="flr bus")
    assert ready.bring("gpu").devices[0].reset == ("flr", "bus")
    assert not reported(ready.run)


def test_a_group_that_vfio_does_not_find_viable_is_told_as_such(ready: Lab) -> None:
    ready.host.reply("0x3B67", NODE, out="0\n")
    held = {"node": NODE, "viable": False, "holders": [f"{BDF} has driver nouveau"]}
    said = {**ANSWER, "groups": [held], "devices": []}
    ready.host.reply("Asks VFIO about", out=json.dumps(said))
    [group] = ready.bring("gpu").groups
    assert (group.viable, group.viable_says) == (False, f"{BDF} has driver nouveau")


def test_vfio_is_asked_about_all_that_is_assigned_and_the_guests_memory(lab: Lab) -> None:
    answer = lab.bring("gpu").vfio
    [asked] = [words for words in lab.host.asked if "Asks VFIO about" in " ".join(words)]
    assert asked[-2:] == (str(answer.asked), f"{NODE}={BDF}")
    [device] = answer.opened
    assert device.regions == "BAR 1: 4096 bytes (mapped), BAR 4: 16384 bytes (mapped), " + (
        "configuration: 4096 bytes"
    )
    assert (device.interrupts, device.mappable) == ("INTx: 1, MSI-X: 6", 20480)
    assert (answer.error, answer.address_bits, answer.pinned) == ("", 48, answer.asked)


def test_the_host_lives_on_its_disks_and_on_the_way_in(ready: Lab) -> None:
    assert in_use.functions_in_use(ready.host) == record().facts["gpu"]["vital"]


def test_a_host_that_nobody_logged_in_to_has_no_way_in(ready: Lab) -> None:
    ready.host.reply("SSH_CONNECTION", out="\n")
    assert (
        in_use.functions_in_use(ready.host)[INTERFACE] == "interface enp0s1 with the default route"
    )


@pytest.mark.case(
    "network of the host", "a default route with several next hops", source="iproute2"
)
@pytest.mark.parametrize(
    ("peer", "names"),
    [
        ("", ["eth0", "eth1"]),
        ("UNKNOWN 65535 UNKNOWN 65535\n", ["eth0", "eth1"]),
        ("fe80::1%eth7 50000 fe80::2%eth7 22\n", ["eth0", "eth1", "eth7"]),
    ],
)
def test_every_way_out_is_in_use(ready: Lab, peer: str, names: list[str]) -> None:
    # ECMP, as iproute2 prints it; not recorded.
    routes = [{"dst": "default", "nexthops": [{"dev": "eth0", "weight": 1}, {"dev": "eth1"}]}, {}]
    ready.host.reply("lsblk -J", out='{"blockdevices": null}')
    ready.host.reply("ip -4 -j route show default", out=json.dumps(routes))
    ready.host.reply("ip -6 -j route show default", out="[]")
    ready.host.reply("SSH_CONNECTION", out=peer)
    ready.host.reply("/sys/class/", *(f"net/{name}" for name in names))
    with at_stage("gpu"):
        assert in_use.functions_in_use(ready.host) == {}
    assert ready.host.asked[-1][-len(names) :] == tuple(f"net/{name}" for name in names)
