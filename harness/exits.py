"""The exit statuses of a run: what a CI job may go by. README.md has the same table.

pytest's own (0 to 5) keep their meaning; ours come after them.
"""

from __future__ import annotations

from collections.abc import Iterable

PASSED = 0
FAILED = 1  # the product: a stage or an assertion
INTERRUPTED = 2  # by a signal, or by files that cannot be collected; undone
HARNESS_ERROR = 3  # of pytest or of ours; documents that could not be written are one
USAGE = 4  # profile or command line; nothing was touched
NO_TESTS = 5
UNREACHABLE = 10  # the host: never reached, or lost on the way
RESIDUE = 11  # something could not be put back, and is still on the host
REGRESSION = 12  # passed, but a time or a rate left its band (--baseline)
REFUSED = 13  # the host is in use, or still has what a dead run left; nothing was touched

# What has to be seen to first: a host that cannot be reached comes before what is left on it, which
# can be put back only once it is there again.
_FIRST = (UNREACHABLE, RESIDUE, INTERRUPTED, USAGE, HARNESS_ERROR, REFUSED, FAILED)


def worst(statuses: Iterable[int]) -> int:
    """Of the statuses of several hosts that which has to be seen to first."""
    return min(statuses, key=lambda status: (*_FIRST, status).index(status))


def status(
    own: int, *, unreachable: bool, residue: bool, error: bool, refused: bool, regression: bool
) -> int:
    """The status of a run that pytest would end with `own`: that of what has to be seen to first.

    A regression is worth the name in a run that passed alone.
    """
    told = {UNREACHABLE: unreachable, RESIDUE: residue, HARNESS_ERROR: error, REFUSED: refused}
    found = worst([own, *(status for status, is_so in told.items() if is_so)])
    return REGRESSION if regression and found == PASSED else found
