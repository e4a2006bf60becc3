"""`python -m harness recover`: finish the undo of dead runs, on every host that may have some."""

from __future__ import annotations

import contextlib
import traceback

from harness import exits
from harness.errors import BadUsage, LabError, Refused
from harness.host.command import HostUnreachable
from harness.host.host import Host
from harness.plugin.session import Session
from harness.undo import lock
from harness.undo.undo import UndoResult, deferred_signals, recover

_STATUSES = (  # of an error alone; the first that fits
    (HostUnreachable, exits.UNREACHABLE),
    (Refused, exits.REFUSED),
    (BadUsage, exits.USAGE),
    (LabError, exits.RESIDUE),  # no product is judged here
    (Exception, exits.HARNESS_ERROR),
)


def run(session: Session) -> int:
    """Recover every host in turn and print the result of each change. Returns the exit status.

    A host that cannot be recovered (unreachable, in use) is reported and does not stop the others.
    What cannot be recorded is undone all the same. Raises BadUsage before anything is touched.
    """
    directory = session.begin(record=False)
    outcome = session.outcome
    statuses = [exits.PASSED]
    for error in outcome.harness_errors:
        session.say(f"ERROR: {error}")
        statuses.append(exits.HARNESS_ERROR)
    try:
        with session.screen.task("recover"):
            for opened in session.leftovers(directory):
                statuses.append(_recover(session, opened, directory.name))
    except KeyboardInterrupt:
        session.say("Interrupted: what is not named here has not been looked at.")
        statuses.append(exits.INTERRUPTED)
    except Exception as failure:  # the hosts cannot even be found
        statuses.append(_failed(session, failure))
    status = exits.worst(statuses)
    if outcome.undo or status == exits.PASSED:  # else that no host was looked at is all there is
        done = len(outcome.undo) - len(outcome.left)
        session.say(f"{done} changes taken back, {len(outcome.left)} could not be.")
    session.end(status)
    if trouble := session.trace.trouble:
        session.say(f"ERROR: {trouble}")
        status = exits.worst([status, exits.HARNESS_ERROR])
    return status


def _recover(session: Session, opened: contextlib.AbstractContextManager[Host], run_id: str) -> int:
    ok = True

    def tell(result: UndoResult) -> None:
        nonlocal ok
        ok = ok and result.ok
        session.outcome.undo.append(result)
        session.say(str(result))

    try:
        with opened as host:
            host.trace = session.trace
            with (
                deferred_signals(session.say),
                lock.locked(host, run_id, session.state_dir, recover=True),
            ):
                recover(host, session.state_dir, session.choices.restore, tell)
                session.hook.pytest_acceptance_recovered(host=host, state=session.state_dir)
    except Exception as error:
        return exits.worst([exits.PASSED if ok else exits.RESIDUE, _failed(session, error)])
    return exits.PASSED if ok else exits.RESIDUE


def _failed(session: Session, error: Exception) -> int:
    """Report an error. Returns the exit status for it alone."""
    if isinstance(error, LabError):
        session.say(f"ERROR: {error}")
        session.outcome.undo_error += f"{error} "
    else:
        session.say("".join(traceback.format_exception(error)).rstrip())
        session.outcome.note_harness_error(f"{type(error).__name__}: {error}")
    return next(status for kind, status in _STATUSES if isinstance(error, kind))
