"""What the tests here work with: a lab, and runs of the acceptance suites as a user starts them."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import vlab
from harness.errors import LabError
from harness.wait import wait_for
from vlab.faults import on_lab
from vlab.qemu import GPU_CLASS
from vlab.registry import machines_root

ROOT = Path(__file__).parents[2]
RUNS = ROOT / "reports" / "runs"
BEGUN = re.compile(r"^lab .*, run (\S+): ", re.MULTILINE)  # others may run beside it

LAB_FILES = "/srv/lab"  # what the lab provides
BARE = "rootfs-bare.img"  # the guest's base image there without partitions, where it has made room

SCRIPT = ROOT / "vlab" / "by_hand.sh"
REMOTE = "/root/by_hand.sh"
CONTAINER = "arch"
IMAGE = "docker.io/library/vllm-cvm:latest"
RUN = "ctr run --runtime io.containerd.kata.v2"
PATIENCE = 400  # seconds for one script at usual pace; a lab that has wedged answers nothing

# What a container may leave behind: processes, links and queueing in its network namespace,
# mounts, folders and sockets of runtime and shim, cgroups.
REMAINS = """
ps -eo args= | grep -E '^/usr[^ ]*(qemu|virtiofsd|containerd-shim|python3 .*kata)' || true
if [ -e /run/netns/vllmnet ]; then
    ip -n vllmnet -o link | cut -d: -f2
    ip netns exec vllmnet tc qdisc show | grep ingress || true
fi
grep -E 'kata|rootfs' /proc/mounts || true
{
    find /run/containerd/runc /run/containerd/io.containerd.runtime.v2.task -mindepth 2
    find /run/kata-containers -mindepth 3
    find /sys/fs/cgroup/default -mindepth 1 -type d
} 2>/dev/null || true
"""

# What a run may leave on a host. Of what is durable nothing: images, the work image and the folder
# of ours stay for the next run, and the empty folders that kata's runtime makes for itself when its
# first container comes.
FINGERPRINT = r"""
for d in /sys/bus/pci/devices/*; do
    echo "pci ${d##*/} $(basename "$(readlink "$d/driver")") $(cat "$d/driver_override")"
done
ls /dev/vfio; ls -d /sys/module/vfio_pci 2>/dev/null
findmnt -rn -o TARGET,FSTYPE | sort
losetup --noheadings --list
ip -o link | cut -d: -f2; ls /run/netns 2>/dev/null
iptables -S; iptables -t nat -S
sysctl net.ipv4.ip_forward
sha256sum /etc/kata-containers/*; ls -laR --time-style=+ /etc/cni /var/lib/cni 2>/dev/null
ctr container ls -q; ctr task ls -q; docker ps -aq
ps -eo args= | grep -E '[q]emu-system|[v]irtiofsd|[c]ontainerd-shim|[m]odel-server'
find /run/kata-containers -mindepth 3 2>/dev/null
systemctl list-units --no-legend --plain 'run-*' 'accept*'
true
"""


@dataclass(frozen=True)
class Finished:
    """A run that ended: its exit status, its folder, what it printed; its process's id."""

    status: int
    folder: Path
    output: str
    pid: int

    @property
    def record(self) -> list[dict[str, Any]]:
        """The record's events, in order."""
        text = (self.folder / "record.jsonl").read_text(encoding="utf-8")
        return [json.loads(line) for line in text.splitlines()]

    def events(self, kind: str, **fields: object) -> list[dict[str, Any]]:
        """The events of a kind that have these fields."""
        return [
            event
            for event in self.record
            if event["kind"] == kind and all(event.get(k) == v for k, v in fields.items())
        ]

    def outcomes(self) -> dict[str, str]:
        """Test id -> outcome, from the JUnit file."""
        found = {}
        for case in ET.parse(self.folder / "junit.xml").getroot().iter("testcase"):
            children = {child.tag for child in case}
            outcome = next(
                (tag for tag in ("error", "failure", "skipped") if tag in children), "passed"
            )
            found[f"{case.get('classname')}.{case.get('name')}"] = outcome
        return found


@dataclass(frozen=True)
class Lab:
    """A lab that is up: shell commands in it, without the harness, and acceptance runs on it.

    Example::

        with Lab.up("--gpus", "0") as lab:
            assert lab.do("lspci -n -d 1af4:1043") == ""
    """

    machine: vlab.Machine

    @classmethod
    @contextmanager
    def up(cls, *options: str) -> Iterator[Lab]:
        """One that stays up for more than one run, as somebody has who works with it.

        ``options`` are those of ``python -m vlab up``; it ends with the block.
        """
        name = f"tests-{os.getpid()}"
        seen: dict[str, Any] = {"check": True, "capture_output": False, "timeout": None}
        command("up", "--name", name, *options, **seen)  # which may build an image
        try:
            yield cls(next(lab for lab in vlab.find() if lab.name == name))
        finally:
            command("down", name, **seen)

    def accept(self, suites: str = "acceptance", **options: Any) -> Finished:
        """An acceptance run on this very lab, by default the whole; options as ``accept``."""
        ours: dict[str, Any] = {**on_lab.profile_of(self.machine)}
        return accept(suites, **ours, **options)

    def begin(self, script: str) -> subprocess.Popen[str]:
        """Start a shell script in the lab; its standard error comes with its output."""
        return subprocess.Popen(
            [*self.machine.ssh, script],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def do(self, script: str, *, status: int = 0) -> str:
        """Run a shell script in the lab; it has to end with ``status``. Returns what it printed."""
        with self.begin(script) as running:
            try:
                output, _ = running.communicate(timeout=PATIENCE * vlab.pace_of(self.machine))
            except subprocess.TimeoutExpired:
                running.kill()
                raise
        assert running.returncode == status, f"{script}\nexited {running.returncode}:\n{output}"
        return output

    def put(self, path: Path, remote: str) -> None:
        """Copy a small file into the lab."""
        words = [*self.machine.ssh, f"cat > {remote}"]
        subprocess.run(words, input=path.read_bytes(), check=True)

    def step(self, *names: str) -> str:
        """Carry out steps of the script that follows the guide; returns what they printed."""
        return self.do(f"sh {REMOTE} {' '.join(names)}")

    def inside(self, script: str, container: str = CONTAINER, *, status: int = 0) -> str:
        """Run a shell script in a container."""
        execute = f"ctr task exec --exec-id e-$(date +%s%N) {container}"
        return self.do(f"{execute} sh -c '{script}'", status=status)

    def functions(self, container: str) -> Counter[str]:
        """The PCI functions that were given to a container, by 'class: vendor:device'.

        Its machine's own are root ports (1b36) and virtio devices (1af4) that are no GPU.
        """
        listed = self.inside("lspci -n", container).splitlines()
        assert listed, "lspci lists nothing at all, so it proves nothing"
        found = [identified(line) for line in listed]
        own = re.compile(rf"(?!{GPU_CLASS}).*: (1b36|1af4):")
        return Counter(name for name in found if not own.match(name))

    def remains(self) -> str:
        """What there is of containers in the lab."""
        return self.do(REMAINS)

    def fingerprint(self) -> list[str]:
        """The lines that a run has to leave as they were."""
        return self.do(FINGERPRINT).splitlines()


def identified(line: str) -> str:
    """Of a line of ``lspci -n`` what the function is, wherever it is: 'class: vendor:device'."""
    return " ".join(line.split()[1:3])


def command(*words: str, module: str = "vlab", **more: Any) -> subprocess.CompletedProcess[str]:
    """``python -m vlab WORDS``, as from a terminal; ``more`` is for ``subprocess.run``."""
    options = {"stdin": subprocess.DEVNULL, "capture_output": True, "timeout": 600, **more}
    argv = [sys.executable, "-m", module, *words]
    return subprocess.run(argv, cwd=ROOT, text=True, **options)


def accept(
    suites: str,
    *,
    stop_at: str | None = None,
    options: Sequence[str] = (),
    environ: Mapping[str, str] = MappingProxyType({}),
    **values: str,
) -> Finished:
    """``pytest -m SUITES`` to its end, in a session of its own; its output is passed on.

    ``values`` are of the profile (``VLAB__GPUS="0"``). A lab that happens to be up is not used
    unless they say so: what these runs find must be as it was built. Gets SIGTERM when it prints
    ``stop_at``, and is never left running.
    """
    fresh = {"ACCEPT_VLAB__FRESH": "true"}
    seen = []
    with subprocess.Popen(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-m", suites, *options],
        cwd=ROOT,
        env={**os.environ, **fresh, **environ, **{f"ACCEPT_{k}": v for k, v in values.items()}},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            assert process.stdout is not None
            for line in process.stdout:
                pass_on(line.rstrip("\n"))
                seen.append(line)
                if stop_at is not None and stop_at in line:
                    process.send_signal(signal.SIGTERM)
                    stop_at = None
            status = process.wait()
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
                try:
                    process.wait(120)
                finally:
                    process.kill()
    output = "".join(seen)
    begun = BEGUN.search(output)
    return Finished(status, RUNS / (begun[1] if begun else "none"), output, process.pid)


def nothing_runs(lab: str) -> None:
    """No process names a file of the machine of this name, or soon does not; else an error."""

    def none() -> bool:
        if found := _naming(f"{machines_root()}/{lab}"):
            raise LabError("\n".join(found))
        return True

    wait_for("no emulator runs", none, PATIENCE, 0.2)


def _naming(text: str) -> list[str]:
    """The command lines of this machine that have a text."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            line = entry.read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
            found += [line] if text in line else []
    return found


def pass_on(line: str) -> None:
    """Show a line at once, also in a process of xdist's, whose standard output nobody sees."""
    who = os.environ.get("PYTEST_XDIST_WORKER", "")
    print(f"{who}    | {line}", file=sys.__stderr__, flush=True)
