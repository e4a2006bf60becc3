"""The exit statuses of a run: what a CI job may go by. README.md has the same table.

pytest's own (0 to 5) keep their meaning; ours come after them.
"""

from __future__ import annotations

PASSED = 0
FAILED = 1  # the product: a stage or an assertion
INTERRUPTED = 2  # by a signal, or by files that cannot be collected; undone
HARNESS_ERROR = 3  # of pytest or of ours; documents that could not be written are one
USAGE = 4  # profile or command line; nothing was touched
NO_TESTS = 5
UNREACHABLE = 10  # the host: never reached, or lost on the way
RESIDUE = 11  # something could not be put back, and is still on the host
REGRESSION = 12  # passed, but a time or a rate left its band (--baseline)


def status(own: int, *, unreachable: bool, residue: bool, error: bool, regression: bool) -> int:
    """The status of a run that pytest would end with `own`: that of what has to be seen to first.

    A host that cannot be reached comes before what is left on it, which can be put back only
    once it is there again; a regression is worth the name in a run that passed alone.
    """
    if unreachable:
        return UNREACHABLE
    if residue:
        return RESIDUE
    if error and own not in (INTERRUPTED, USAGE):
        return HARNESS_ERROR
    return REGRESSION if regression and own == PASSED else own
