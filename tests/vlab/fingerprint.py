"""What a run may leave on a host, as text that can be compared."""

from __future__ import annotations

from tests.vlab.by_hand import Lab

# Of what is durable nothing: images, the work image and the folder of ours stay for the next run,
# and the empty folders that kata's runtime makes for itself when its first container comes.
SCRIPT = r"""
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


def fingerprint(lab: Lab) -> list[str]:
    """The lines that a run has to leave as they were."""
    return lab.do(SCRIPT).splitlines()
