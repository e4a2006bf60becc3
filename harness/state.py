"""Where the harness keeps its state on a host, and who may write there."""

from __future__ import annotations

from harness.errors import Refused
from harness.host import ANY, Host

STATE_DIR = "/var/lib/passthrough-acceptance"

# $1: directory. Makes it, or refuses one that somebody else could write: what stands in a journal
# will be executed. Ends with 3 when refused.
_SECURE = """
umask 077
mkdir -p -- "$1"
for path in "$1" "$1"/*.jsonl; do
    [ -e "$path" ] || [ -L "$path" ] || continue
    if [ -L "$path" ]; then echo "'$path' is a symbolic link"; exit 3; fi
    set -- "$1" $(stat -c '%u %a' -- "$path")
    if [ "$2" != "$(id -u)" ]; then echo "'$path' belongs to user id $2"; exit 3; fi
    if [ $((0$3 & 022)) -ne 0 ]; then echo "'$path' has mode $3"; exit 3; fi
done
"""


class StateRefused(Refused):
    """The state directory, or a journal in it, could be written by others."""


def secure(host: Host, directory: str) -> None:
    """Make a private directory on the host; StateRefused when others could write in it."""
    result = host.sh(_SECURE, directory, ok=ANY)
    if result.rc == 3:
        raise StateRefused(
            f"The journal directory on '{host.name}' cannot be trusted: {result.out.strip()}.",
            hint=f"look at it, then remove it: ls -la {directory}",
        )
    if result.rc != 0:
        raise StateRefused(
            f"Directory '{directory}' cannot be made on '{host.name}': {result.err.strip()}"
        )
