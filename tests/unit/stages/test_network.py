"""network: what is somebody else's is refused by its name, and what CNI says has its cause told."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from fixtures.common import install
from fixtures.common.findings import reported
from fixtures.network import cni
from fixtures.network.stage import NetworkStage
from harness.errors import LabError
from harness.host.command import without_usage
from harness.host.host import Host
from harness.host.shape import read
from tests.unit.kept import PASSED
from tests.unit.replay import ReplayHost
from tests.unit.stages.conftest import MakeLab
from tests.unit.stages.lab import Lab, Refusal, about, record

WANTED = record().profile["network"]
NAME, BRIDGE, SUBNET, FOLDER = (
    WANTED[key] for key in ("name", "bridge", "subnet", "configurations")
)
NETNS = f"/var/run/netns/{NAME}"
CONFIGURATION = f"{FOLDER}/{NAME}.conf"
CNITOOL = record().facts["network"]["programs"]["cnitool"]
LINKS = ("ip -j link show",)
ROUTES = ("ip -j route show table all",)
LEASES = ('then ls "$1"', f"/networks/{NAME}")
CONFIGURATIONS = ('"$1"/*.conflist',)
RESULT = "/var/lib/cni/results/"

# The first bytes of programs: of other machines, and of none.
ELF_ARM = "\x7fELF\x01\x01\x01" + "\0" * 9 + "\x02\0\x28\0" + "\0" * 44
ELF_AARCH64 = (
    "\x7fELF\x02\x01\x01"
    + "\0" * 9
    + "\x02\0\xb7\0".encode("latin-1").decode("utf-8", "surrogateescape")
    + "\0" * 44
)
FIRST_BYTES = 'head -c "$2"'


def files(*pairs: tuple[str, object]) -> str:
    """What the host's script prints of CNI configurations."""
    texts = ((path, text if isinstance(text, str) else json.dumps(text)) for path, text in pairs)
    return "".join(f"{path}\0{text}\0" for path, text in texts)


def bridge(name: str, interface: str, subnet: str) -> dict[str, object]:
    """A configuration of the bridge plugin's."""
    return {"name": name, "type": "bridge", "bridge": interface, "ipam": {"subnet": subnet}}


def link(host: ReplayHost, name: str) -> None:
    """The host has one more interface."""
    host.filter(*LINKS, by=lambda out: json.dumps([*json.loads(out), {"ifname": name}]))


def route(host: ReplayHost, **fields: str) -> None:
    """The host has one more route."""
    host.filter(*ROUTES, by=lambda out: json.dumps([*json.loads(out), fields]))


IN_USE = [
    Refusal(
        "a bridge of that name",
        lambda host: link(host, BRIDGE),
        (f"there is already an interface '{BRIDGE}' on lab",),
        "network.bridge in the profile to a free name",
        "network.conf",
    ),
    Refusal(
        "a namespace of that name",
        lambda host: host.reply('[ -e "$1" ] ||', f"sh {NETNS}"),
        (f"there is already a network namespace {NETNS}",),
        f"ip netns pids {NAME}",
        "network.netns",
    ),
    Refusal(
        "addresses given out",
        lambda host: host.reply(*LEASES, out="10.88.0.2\n10.88.0.3\nlast_reserved_ip.0\nlock\n"),
        (f"CNI network '{NAME}' has given out 10.88.0.2, 10.88.0.3 already",),
        f"/var/lib/cni/networks/{NAME}",
        "network.add",
    ),
    Refusal(
        "another configuration with our name",
        lambda host: host.reply(
            *CONFIGURATIONS, out=files((f"{FOLDER}/10-x.conf", bridge(NAME, "br9", "10.1.0.0/16")))
        ),
        (f"{FOLDER}/10-x.conf has a network '{NAME}' on br9", "have to be ours alone"),
        "free names",
        "network.conf",
    ),
    Refusal(
        "another configuration with our bridge",
        lambda host: host.reply(
            *CONFIGURATIONS,
            out=files((f"{FOLDER}/10-x.conf", bridge("pods", BRIDGE, "10.1.0.0/16"))),
        ),
        (f"{FOLDER}/10-x.conf has a network 'pods' on {BRIDGE}",),
        "network.name and network.bridge",
        "network.conf",
    ),
    Refusal(
        "a list that nobody can read",
        lambda host: host.reply(*CONFIGURATIONS, out=files((f"{FOLDER}/99-x.conflist", "{"))),
        (f"{FOLDER}/99-x.conflist is no CNI configuration (Invalid JSON",),
        "mend it, or move it",
        "network.conf",
    ),
    Refusal(
        "a configuration before ours that nobody can read",
        lambda host: host.reply(*CONFIGURATIONS, out=files((f"{FOLDER}/10-x.conf", "[]"))),
        (f"{FOLDER}/10-x.conf is no CNI configuration",),
        "mend it, or move it",
        "network.conf",
    ),
    Refusal(
        "a route into our subnet",
        lambda host: route(host, dst="10.88.7.0/24", dev="wg0"),
        (f"subnet {SUBNET} is in use: the host's route to 10.88.7.0/24 by wg0",),
        "network.subnet",
        "network.conf",
    ),
    Refusal(
        "a network in our subnet",
        lambda host: host.reply(
            *CONFIGURATIONS,
            out=files((f"{FOLDER}/10-x.conf", bridge("pods", "cni0", "10.0.0.0/8"))),
        ),
        (f"subnet {SUBNET} is in use: CNI network 'pods' in {FOLDER}/10-x.conf",),
        "network.subnet",
        "network.conf",
    ),
]

PROGRAMS = [
    Refusal(
        "no plugin",
        lambda host: host.reply(FIRST_BYTES, "/bridge"),
        ("there is no CNI plugin /opt/cni/bin/bridge",),
        "network.plugins of the profile",
        "network.plugins",
    ),
    Refusal(
        "a plugin for 32-bit ARM",
        lambda host: host.reply(FIRST_BYTES, "/host-local", out=ELF_ARM),
        ("CNI plugin /opt/cni/bin/host-local is for EM_ARM, this host is x86_64",),
        "linux-arm64",
        "network.plugins",
    ),
    Refusal(
        "a plugin that is no program",
        lambda host: host.reply(FIRST_BYTES, "/bridge", out="PK\x03\x04"),
        ("/opt/cni/bin/bridge is for other",),
        "linux-arm64",
        "network.plugins",
    ),
    Refusal(
        "no cnitool",
        lambda host: host.reply(FIRST_BYTES, "cnitool"),
        (f"{CNITOOL} is not there; this host is x86_64",),
        "build cnitool",
        "network.cnitool",
    ),
    Refusal(
        "a cnitool for another machine",
        lambda host: host.reply(FIRST_BYTES, "cnitool", out=ELF_AARCH64),
        (f"{CNITOOL} is for EM_AARCH64; this host is x86_64",),
        "for this machine",
        "network.cnitool",
    ),
]


@pytest.mark.parametrize("refusal", [*IN_USE, *PROGRAMS], ids=about)
def test_what_is_not_free_or_does_not_fit_is_refused_and_nothing_changed(
    lab: Lab, refusal: Refusal
) -> None:
    refusal.of(lab, "network")
    assert not lab.journal()


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("99-x.conf", "{"),  # libcni has found ours by then
        ("10-x.conf", bridge("pods", "cni0", "10.1.0.0/16")),
        (f"{NAME}.conf", bridge(NAME, BRIDGE, SUBNET)),  # of an earlier run: put back by its undo
    ],
)
def test_a_configuration_that_is_in_nobodys_way_is_none_of_ours(
    lab: Lab, path: str, text: object
) -> None:
    lab.host.reply(*CONFIGURATIONS, out=files((f"{FOLDER}/{path.replace('99', 'zz')}", text)))
    assert lab.bring("network").name == NAME


# What the CNI plugins and libcni print, and what is to be done.
SAYS = [
    ("Mac doesn't match: 02:42 vs 86:ac", "MACAddressPolicy=none"),
    (
        f'"{BRIDGE}" already has an IP address different from 10.88.0.1/16',
        "name another network.bridge",
    ),
    ("duplicate allocation is not allowed", "'cnitool del' for that namespace"),
    ("10.88.0.2 has been allocated to other", "python -m harness recover"),
    ("no IP addresses available in range set: 10.88.0.1-10.88.255.254", "are leased"),
    ("Required prevResult missing", "somebody cleaned there"),
    ('failed to find plugin "bridge" in path [/opt/cni/bin]', "network.plugins of the profile"),
    ('no net configuration with name "vllmnet" in /etc/cni/net.d', "is malformed"),
    ("error parsing configuration: invalid character", "is malformed"),
    ("something that nobody knows yet", "cni.txt in the evidence"),
]


@pytest.mark.case(
    "CNI",
    "what plugins and libcni say when they fail",
    source="cnitool 1.3.1 with Debian's plugins; their sources",
)
@pytest.mark.parametrize(("says", "hint"), SAYS)
def test_what_cni_says_has_its_likely_cause_told(lab: Lab, says: str, hint: str) -> None:
    refusal = Refusal(
        "",
        lambda host: host.reply(f"{CNITOOL} add", status=1, err=says),
        (f"cnitool add {NAME}", says),
        hint,
        "network.add",
    )
    refusal.of(lab, "network")


@dataclass(frozen=True)
class Call:
    """A call of the real cnitool 1.3.1 with Debian's plugins, as recorded."""

    name: str
    status: int
    out: str = ""
    err: str = ""

    @property
    def error(self) -> str:
        """The error alone, which is all that cnitool 1.2 and 1.3.0 print."""
        return self.err.strip().splitlines()[-1]


def recorded() -> Iterator[Call]:
    text = (PASSED.parent / "cnitool-1.3.1.txt").read_text()
    for part in text.split("## ")[1:]:
        head, *said = re.split(r"^-- (out|err)\n", part, flags=re.MULTILINE)
        name, status = head.split()
        yield Call(name, int(status), **dict(zip(said[::2], said[1::2], strict=True)))


CALLS = {call.name: call for call in recorded()}
FAILED = [call for call in CALLS.values() if call.status]
# Of what can happen to our 'cnitool add'; 'check' has the suite's own advice.
CAUSES = {
    "05-add-again": "was never undone",
    "11-unknown-network": "is malformed",
    "12-no-netns": "the namespace is gone",
    "13-plugin-missing": "network.plugins of the profile",
    "20-future": "unpack a newer release",
    "21-bad-json": "is malformed",
    "22-empty-dir": "is malformed",
    "23-no-dir": "is malformed",
    "24-cni-path-wrong": "network.plugins of the profile",
    "25-verb": "v1.2.3 to v1.3.1",
    "26-too-few": "v1.2.3 to v1.3.1",
    "29-relative-netns": "the namespace is gone",
}
USAGE_12 = """cnitool: Add, check, or remove network interfaces from a network namespace
  cnitool add   <net> <netns>
  cnitool check <net> <netns>
  cnitool del   <net> <netns>
"""


def test_all_calls_are_there() -> None:
    assert len(CALLS) == 30
    checks = {"03-check-before-add", "07-check-address-gone", "08-check-link-gone", "18-old-check"}
    assert {call.name for call in FAILED} == CAUSES.keys() | checks


@pytest.mark.case("CNI", "an error, a usage text, and the error again", source="cnitool 1.3.1")
@pytest.mark.parametrize("name", CAUSES)
@pytest.mark.parametrize("form", ["err", "error"])
def test_what_cnitool_says_is_shown_once_with_its_cause(lab: Lab, name: str, form: str) -> None:
    call = CALLS[name]
    error = Refusal(
        "",
        lambda host: host.reply(f"{CNITOOL} add", status=1, err=getattr(call, form)),
        (f"cnitool add {NAME}",),
        CAUSES[name],
        "network.add",
    ).of(lab, "network")
    assert error.message.endswith(f"stderr:\n{call.error}")


def test_a_usage_alone_is_another_command_line(lab: Lab) -> None:
    Refusal(
        "",
        lambda host: host.reply(f"{CNITOOL} add", status=1, err=USAGE_12),
        (USAGE_12.strip(),),
        "v1.2.3 to v1.3.1",
        "network.add",
    ).of(lab, "network")


@pytest.mark.parametrize("call", FAILED, ids=lambda call: call.name)
def test_an_error_is_told_without_the_usage(call: Call) -> None:
    assert without_usage(call.err.strip()) == call.error
    assert without_usage(call.error) == call.error
    behind = f"a plugin's own words\n{call.err.strip()}"
    assert without_usage(behind) == f"a plugin's own words\n{call.error}"


@pytest.mark.parametrize("name", ["04-add", "14-single", "17-old-add"])
def test_a_result_of_every_version_has_its_address(name: str) -> None:
    (ip,) = read(CALLS[name].out, cni.Added, "").ips
    assert str(ip.address).endswith(".0.2/16")
    assert ip.gateway.endswith(".0.1")


def test_the_result_is_where_cnitool_keeps_it() -> None:
    (container,) = re.findall(r"cnitool-\w+", CALLS["03-check-before-add"].error)
    assert container in cni.result_file("vllmnet", cni.netns_path("cnit"))


def test_a_namespace_that_cannot_be_made(lab: Lab) -> None:
    says = "mount --make-shared /run/netns failed: Operation not permitted\n"
    Refusal(
        "",
        lambda host: host.reply(f"ip netns add {NAME}", status=1, err=says),
        (says.strip(),),
        "ip netns list",
        "network.netns",
    ).of(lab, "network")


@pytest.mark.parametrize("result", [{}, {"ips": []}, {"ips": [{"address": "fe80"}]}])
def test_a_result_without_an_address(ready: Lab, result: dict[str, object]) -> None:
    Refusal(
        "",
        lambda host: host.reply(f"cat -- {RESULT}", out=json.dumps({"result": result})),
        ("cnitool's result names no address", json.dumps(result)),
        "host-local",
        "network.address",
    ).of(ready, "network")


def test_a_result_that_is_none(ready: Lab) -> None:
    Refusal(
        "",
        lambda host: host.reply(f"cat -- {RESULT}", out='{"kind": "cniCache'),
        ("cnitool's result names no address", '{"kind": "cniCache'),
        "host-local",
        "network.address",
    ).of(ready, "network")


def test_no_way_out_is_a_finding(ready: Lab) -> None:
    ready.bring("network")
    [finding] = reported(ready.run)
    assert (finding.id, finding.severity) == ("network.forward-drop", "medium")
    assert finding.clause == "network.conf"
    assert BRIDGE in finding.text


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("-P FORWARD DROP", "-P FORWARD ACCEPT"),
        ("-A FORWARD -j DOCKER-USER", f"-A FORWARD -i {BRIDGE} -j ACCEPT"),
    ],
)
def test_a_way_out_is_none(ready: Lab, old: str, new: str) -> None:
    ready.host.edit("iptables -S FORWARD", old=old, new=new)
    ready.bring("network")
    assert not reported(ready.run)


def test_the_configuration_is_the_guides_with_the_profiles_names(lab: Lab) -> None:
    lab.bring("network")
    written = json.loads(lab.host.written[CONFIGURATION])
    assert (written["name"], written["bridge"]) == (NAME, BRIDGE)
    assert written["ipam"] == {"type": "host-local", "subnet": SUBNET}
    assert written["isDefaultGateway"]
    assert written["ipMasq"]


@pytest.mark.finding("C1", "ip_forward goes back, and what the kernel changes with it does not")
def test_forwarding_goes_back_to_what_it_was(lab: Lab) -> None:
    was = (
        "net/ipv4/ip_forward=0",
        "net/ipv4/conf/all/accept_redirects=1",
        "net/ipv4/conf/eth0.100/forwarding=0",
    )
    lab.host.reply("accept_redirects", out="\n".join(was))
    lab.bring("network")
    [entry] = [e for e in lab.run.journal.entries if "ip_forward" in e.what]
    assert entry.what == "net.ipv4.ip_forward (was 0)"
    # In this order: a change of the first sets the others anew.
    assert entry.undo == (("sysctl", "-q", "-e", "-w", *was),)


@pytest.mark.finding("C2", "modules that a stage brings in stay loaded")
def test_modules_that_were_not_loaded_go_last(lab: Lab) -> None:
    lab.host.reply("/proc/modules", out="bridge 311296 0 - Live 0x0\n")
    lab.bring("network")
    first = lab.run.journal.entries[0]
    assert first.what.startswith("modules veth, stp, llc, xt_comment, xt_MASQUERADE, ")
    assert first.undo[0][-3:] == ("act_mirred", "cls_u32", "sch_ingress")


# iproute2 as far as the undo asks it: namespaces and bridges in files, with what '-o link' says.
IP = r"""#!/bin/sh
case "$*" in
    "netns pids "*) cat "$LINKS/$3.pids" ;;
    "netns del "*) rm "$LINKS/netns-$3" ;;
    "-n "*) cat "$LINKS/netns-$2" ;;
    "-o link show dev "*) cat "$LINKS/link-$5" ;;
    "-o link show master "*) cat "$LINKS/$5.ports" ;;
    "link del "*) rm "$LINKS/link-$3" ;;
    *) exit 9 ;;
esac
"""
LOOPBACK = r"1: lo: <LOOPBACK> mtu 65536 qdisc noop state DOWN \    link/loopback 00:00:00:00:00:00"
BRIDGE_LINE = (
    r"7: cni1: <BROADCAST,UP> mtu 1500 qdisc noqueue state UP \    link/ether 0e:00:00:00:00:01"
)
VETH = "\n2: eth0@if5: <BROADCAST> mtu 1500 qdisc noqueue state UP"
PORT = "5: veth1@if2: <BROADCAST> mtu 1500 qdisc noqueue master cni1"
OUR_MARK = r"\    alias accept-" + record().run_id
THEIR_MARK = r"\    alias accept-20200101T000000Z-000000"


@pytest.mark.parametrize(
    ("what", "link", "more", "goes"),
    [
        ("ip netns add", LOOPBACK + OUR_MARK + VETH, "17", True),
        ("ip netns add", LOOPBACK, "", True),  # it was killed before it could mark it
        ("ip netns add", LOOPBACK, "17", False),
        ("ip netns add", LOOPBACK + VETH, "", False),
        ("ip netns add", LOOPBACK + THEIR_MARK + VETH, "", False),
        ("cnitool add", BRIDGE_LINE + OUR_MARK, PORT, True),
        ("cnitool add", BRIDGE_LINE, "", True),
        ("cnitool add", BRIDGE_LINE, PORT, False),
        ("cnitool add", BRIDGE_LINE + THEIR_MARK, PORT, False),
    ],
)
def test_what_is_removed_bears_our_mark_or_has_nothing_in_it(
    lab: Lab,
    local: Host,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    what: str,
    link: str,
    more: str,
    goes: bool,
) -> None:
    lab.bring("network")
    [entry] = [e for e in lab.run.journal.entries if e.what.startswith(what)]
    [script] = [argv for argv in entry.undo if argv[-1] == f"accept-{lab.run.id}"]
    bridge = what == "cnitool add"
    thing = tmp_path / (f"link-{BRIDGE}" if bridge else f"netns-{NAME}")
    thing.write_text(f"{link}\n")
    (tmp_path / (f"{BRIDGE}.ports" if bridge else f"{NAME}.pids")).write_text(more)
    (tmp_path / "ip").write_text(IP)
    (tmp_path / "ip").chmod(0o755)
    monkeypatch.setenv("LINKS", str(tmp_path))
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    local.run(*script)
    assert thing.exists() is not goes
    if bridge:
        thing.unlink(missing_ok=True)
        local.run(*script)  # it may be done again


@pytest.mark.finding("C1", "a folder of CNI configurations that was not there stays")
def test_a_folder_that_was_there_stays(lab: Lab) -> None:
    lab.host.reply("for folder; do", "/etc/cni", out=f"/etc/cni\n/etc/cni/net.d\n{cni.STATE}\n")
    lab.bring("network")
    [entry] = [e for e in lab.run.journal.entries if e.what.startswith("folders")]
    assert entry.undo[0][-3:] == (cni.STATE, "/etc/cni/net.d", "/etc/cni")  # the innermost first


def test_the_leases_folder_of_another_stays_with_what_was_in_it(lab: Lab) -> None:
    lab.host.reply('[ -e "$1" ] ||', f"sh {cni.STATE}/networks/{NAME}")
    lab.host.reply("cp -a --no-dereference", "last_reserved_ip.0")
    lab.bring("network")
    [entry] = [e for e in lab.run.journal.entries if e.what.startswith("cnitool add")]
    assert not any("rm -rf" in " ".join(argv) for argv in entry.undo)
    assert any("last_reserved_ip.0" in what for what in lab.journal())


def test_plugins_of_an_archive_and_a_cnitool_are_put_where_we_keep_things(
    make_lab: MakeLab, tmp_path: Path
) -> None:
    archive, tool = tmp_path / "plugins.tgz", tmp_path / "cnitool"
    archive.write_bytes(b"plugins")
    tool.write_bytes(b"tool")
    digests = {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in (archive, tool)}
    lab = make_lab(
        settings={
            "network": {
                "archive": {"source": str(archive), "sha256": digests[archive]},
                "cnitool": {"source": str(tool), "sha256": digests[tool]},
            }
        }
    )
    folder = f"{lab.run.journal.state}/cni-plugins-{digests[archive][:16]}"
    ours = f"{lab.run.journal.state}/cnitool-{digests[tool][:16]}"
    lab.host.reply('[ -e "$1" ] ||', folder, status=1)
    lab.host.reply(f"mkdir -p -- {lab.run.journal.state}")
    lab.host.reply("sha256sum <", folder)  # it has neither yet
    lab.host.reply("mktemp", folder)
    lab.host.reply("tar -xf", folder)
    lab.host.reply(install.FRESH, f"{ours}/cnitool", out=f"{ours}\n")
    lab.host.reply("cp -a --no-dereference", f"{ours}/cnitool", status=3)
    lab.host.reply("sha256sum <", f"{ours}/cnitool")  # nothing is there yet
    lab.host.reply("mktemp", f"{ours}/cnitool")
    lab.host.reply(cni.SAYS, f"{ours}/cnitool")
    elf = lab.host.record.replies[
        "network",
        (
            "sh",
            "-euc",
            'if [ -x "$1" ] && [ -f "$1" ]; then head -c "$2" -- "$1"; fi',
            "sh",
            "/opt/cni/bin/bridge",
            "64",
        ),
    ][0].out
    lab.host.reply(FIRST_BYTES, folder, out=elf)
    lab.host.reply(FIRST_BYTES, ours, out=elf)
    lab.host.reply("sha256sum -- ", ours, out=f"{digests[tool]}  {ours}/cnitool\n")
    lab.host.reply(f"CNI_PATH={folder}", f"{ours}/cnitool add {NAME}")
    found = lab.bring("network").programs
    assert (found.folder, found.cnitool_sha256) == (folder, digests[tool])
    kept = {entry.what: entry.durable for entry in lab.run.journal.entries}
    assert kept[f"unpack {archive} to {folder}"]
    assert kept[f"make '{ours}/cnitool'"]
    assert kept[f"folders {ours}"]


def test_an_asset_that_is_another_file_is_not_used(make_lab: MakeLab, tmp_path: Path) -> None:
    tool = tmp_path / "cnitool"
    tool.write_bytes(b"other")
    lab = make_lab(settings={"network": {"cnitool": {"source": str(tool), "sha256": "0" * 64}}})
    ours = f"{lab.run.journal.state}/cnitool-{'0' * 16}"
    for script in (install.FRESH, "sha256sum <"):
        lab.host.reply(script, f"{ours}/cnitool")
    lab.host.reply("cp -a --no-dereference", f"{ours}/cnitool", status=3)
    lab.host.reply(f"mkdir -p -- {ours}")
    with pytest.raises(LabError, match="is not what was expected"):
        lab.bring("network")


@pytest.mark.finding("F6", "a kubeconfig with a token lies beside CNI's configurations")
def test_evidence_has_what_cni_reads_and_no_credentials(local: Host, tmp_path: Path) -> None:
    configuration = '{"name": "k8s", "plugins": []}'
    (tmp_path / "10-calico.conflist").write_text(configuration)
    for name in ("calico-kubeconfig", "multus.d", "calico.kubeconfig", "10.conf.bak", "ca.crt"):
        (tmp_path / name).write_text("token: a-servants\n")
    script = NetworkStage.evidence["cni"]
    assert "/etc/cni/net.d " in script
    said = local.ask("sh", "-c", script.replace("/etc/cni/net.d ", f"{tmp_path} ")).out
    assert configuration in said
    assert "a-servants" not in said


@pytest.mark.finding("F20", "plugins in our own folder that others could write")
@pytest.mark.parametrize("writable", ["", "plugins", "plugins/bridge", "."])
def test_what_was_unpacked_is_used_where_nobody_else_can_have_changed_it(
    local: Host, tmp_path: Path, writable: str
) -> None:
    tmp_path.chmod(0o755)
    folder = tmp_path / "plugins"
    assert not install.sound(local, str(folder))
    folder.mkdir(mode=0o755)
    (folder / "bridge").touch(0o755)
    (folder / "host-local").symlink_to("bridge")
    if writable:
        (tmp_path / writable).chmod(0o777)
    assert install.sound(local, str(folder)) == (not writable)
