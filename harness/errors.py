"""The expected errors of the harness and the stages: each message is a sentence to act upon."""

from __future__ import annotations

from _pytest.outcomes import Failed  # pytest.fail.Exception, as a class to derive from

RECOVER = "python -m harness recover"  # hints name it: it finishes the undo of a run that died


class LabError(Exception):
    """An error for the engineer at the lab: what is wrong, and what to do about it.

    ``hint`` says what to try next; ``clause`` is the id of the guide's clause that is not met.
    Subclasses may set either as a class attribute.

        raise LabError("no GPU on 'a'", hint="see 'lspci -nn'", clause="gpu.present")
    """

    hint: str | None = None
    clause: str | None = None

    def __init__(self, message: str, *, hint: str | None = None, clause: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        if hint is not None:
            self.hint = hint
        if clause is not None:
            self.clause = clause

    def __str__(self) -> str:
        text = self.message
        if self.clause:
            text += f" [clause {self.clause}]"
        if self.hint:
            text += f"\nhint: {self.hint}"
        return text


class Refused(LabError):
    """The run may not begin on this host: it is in use, or not as it was; nothing was touched."""


class BadUsage(LabError):
    """The command line or the profile is wrong (exit status 4); nothing was touched."""


class TimeIsUp(Failed):
    """A test or a stage has used up its budget.

    It is no LabError, because callers retry after one ("not yet"), and nothing may be retried now.
    """

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message if hint is None else f"{message}\nhint: {hint}")
        self.message = message
        self.hint = hint


def sentence(error: BaseException | None) -> str:
    """The message that a person can act upon; empty for an error that only a traceback explains.

    Of a failed assertion it is the test's own message, without pytest's rewritten expression. With
    `enable_assertion_pass_hook` pytest leaves each % of it twice (rewrite.py, `visit_Assert`).
    """
    if isinstance(error, LabError | TimeIsUp):
        return str(error)
    if isinstance(error, AssertionError):
        return f"\n{error}".partition("\nassert ")[0].strip().replace("%%", "%")
    return ""
