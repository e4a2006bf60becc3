"""A lab that is worked in by hand: shell commands over ssh, nothing of the harness."""

from __future__ import annotations

import subprocess
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import vlab

SCRIPT = Path(vlab.__file__).parent / "by_hand.sh"
REMOTE = "/root/by_hand.sh"
CONTAINER = "arch"
IMAGE = "docker.io/library/vllm-cvm:latest"
RUN = "ctr run --runtime io.containerd.kata.v2"
PATIENCE = 400  # seconds for one script; a lab that has wedged answers nothing for ever

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


@dataclass(frozen=True)
class Lab:
    """A lab that one can log in to with the command line ``ssh``."""

    ssh: Sequence[str]

    def begin(self, script: str) -> subprocess.Popen[str]:
        """Start a shell script in the lab; its standard error comes with its output."""
        return subprocess.Popen(
            [*self.ssh, script],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def do(self, script: str, *, status: int = 0) -> str:
        """Run a shell script in the lab; it has to end with ``status``. Returns what it printed."""
        with self.begin(script) as running:
            try:
                output, _ = running.communicate(timeout=PATIENCE)
            except subprocess.TimeoutExpired:
                running.kill()
                raise
        assert running.returncode == status, f"{script}\nexited {running.returncode}:\n{output}"
        return output

    def put(self, path: Path, remote: str) -> None:
        """Copy a small file into the lab."""
        subprocess.run([*self.ssh, f"cat > {remote}"], input=path.read_bytes(), check=True)

    def step(self, *names: str) -> str:
        """Carry out steps of the script that follows the guide; returns what they printed."""
        return self.do(f"sh {REMOTE} {' '.join(names)}")

    def inside(self, script: str, container: str = CONTAINER, *, status: int = 0) -> str:
        """Run a shell script in a container."""
        execute = f"ctr task exec --exec-id e-$(date +%s%N) {container}"
        return self.do(f"{execute} sh -c '{script}'", status=status)

    def functions(self, container: str) -> Counter[str]:
        """The PCI functions that a container sees, by 'vendor:device', without its own machine's.

        Its machine's own are the root ports (1b36) and what virtio brings (1af4).
        """
        ids = [line.split()[2] for line in self.inside("lspci -n", container).splitlines()]
        assert ids, "lspci lists nothing at all, so it proves nothing"
        return Counter(name for name in ids if name[:4] not in ("1b36", "1af4"))
