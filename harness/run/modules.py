"""Kernel modules that a stage brings in: what was not loaded before is unloaded by the undo."""

from __future__ import annotations

from collections.abc import Sequence

from harness.host.host import Host
from harness.undo.journal import Journal

# $@: modules. Unloads those that nobody uses, in whatever order their dependencies want; rmmod and
# not 'modprobe -r', which takes along what was loaded before. A kind of link (veth, bridge) has no
# count of its users: it stays while there is a link of it.
_UNLOAD = """
again=1
while [ "$again" ]; do
    again=
    for module; do
        [ "$(cat "/sys/module/$module/refcnt" 2>/dev/null)" = 0 ] || continue
        [ -z "$(ip -o link show type "$module" 2>/dev/null)" ] || continue
        if rmmod "$module" 2>/dev/null; then again=1; fi
    done
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
