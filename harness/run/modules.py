"""Kernel modules that a stage brings in: what was not loaded before is unloaded by the undo."""

from __future__ import annotations

from collections.abc import Sequence

from harness.host.host import Host
from harness.undo.journal import Journal

# $@: modules. Unloads those that nobody uses, in whatever order their dependencies want; rmmod and
# not 'modprobe -r', which takes along what was loaded before. A kind of link (veth, bridge) has no
# count of its users: it stays while there is a link of it. The kernel takes a network namespace
# apart after 'ip netns del' has returned, so what is in use gets some seconds.
_UNLOAD = """
tries=5
while [ $tries -gt 0 ]; do
    tries=$((tries - 1)) left=
    for module; do
        users=$(cat "/sys/module/$module/refcnt" 2>/dev/null) || continue
        if [ "$users" = 0 ] && [ -z "$(ip -o link show type "$module" 2>/dev/null)" ]; then
            rmmod "$module" 2>/dev/null || true
        fi
        [ ! -e "/sys/module/$module" ] || left=1
    done
    [ "$left" ] || break
    sleep 1
done
"""


def bring(host: Host, journal: Journal, stage: str, names: Sequence[str]) -> None:
    """Write down which of these modules are not loaded, before the stage brings them in."""
    if not names:
        return
    said = host.ask("cat", "/proc/modules").out  # there is none where a kernel has no modules
    loaded = {line.split()[0] for line in said.splitlines()}
    if fresh := [name for name in names if name not in loaded]:
        undo = ["sh", "-euc", _UNLOAD, "sh", *fresh]
        journal.record(stage, f"modules {', '.join(fresh)}", undo=[undo])
