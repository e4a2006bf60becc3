"""The exit statuses, for CI jobs to act on. docs/commands.md has the same table.

`harness.outcome` chooses the one of a run. pytest's own (0 to 6) keep their meaning; ours come
after them.
"""

from __future__ import annotations

from collections.abc import Iterable

PASSED = 0
FAILED = 1  # the product: a stage or an assertion
INTERRUPTED = 2  # by a signal, or by files that cannot be collected; undone
HARNESS_ERROR = 3  # of pytest or of ours; documents that could not be written are one
USAGE = 4  # profile or command line; nothing was touched
NO_TESTS = 5
WARNINGS = 6  # more of them than pytest's --max-warnings allows
UNREACHABLE = 10  # the host: never reached, or lost on the way
RESIDUE = 11  # something could not be put back, and is still on the host
REGRESSION = 12  # passed, but a time or a rate left its band (--baseline)
REFUSED = 13  # the host is in use, or still has what a dead run left; nothing was touched

# The most urgent first: a host has to be reachable before its leftovers can be undone.
_URGENCY = (UNREACHABLE, RESIDUE, INTERRUPTED, USAGE, HARNESS_ERROR, REFUSED, FAILED)


def worst(statuses: Iterable[int]) -> int:
    """The most urgent of several statuses; that all is well is the least."""
    return min(statuses, key=lambda one: ((*_URGENCY, one).index(one), one == PASSED))
