"""The time limits of tests and stages: counted during a test's phases, and only there.

pytest catches what an alarm raises while a phase of a test runs (setup, call, teardown). Anywhere
else (a report is made, evidence is collected, the terminal is written to) it would end the whole
run. So the clock is stopped there. pytest-timeout's own hooks start it and cancel it.
"""

from __future__ import annotations

import contextlib
import signal
import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from harness.errors import TimeIsUp
from harness.host.host import Host

LEAST = 1.0  # seconds that are left for the next phase, however late the one before was
SLACK = 60.0  # seconds beyond its budget in which a stage's own commands can tell of it first


@dataclass(frozen=True)
class Limit:
    """A limit in seconds, for a host of usual pace (`Host.pace`).

    `what` names the test or stage. `key` is its key in the profile's [budget], if it has one.
    `slack` are seconds beyond the limit before it strikes.
    """

    what: str
    seconds: float
    key: str = ""
    slack: float = 0.0

    def on(self, host: Host | None) -> float:
        """Seconds until it strikes on this host; None: a host of usual pace."""
        return (self.seconds + self.slack) * (host.pace if host is not None else 1.0)

    def over(self, host: Host | None) -> TimeIsUp:
        """The error when it strikes: the limit's name and length, and the commands that run."""
        words, running = f"{self.seconds:g} s", []
        if host is not None:
            words, running = host.paced_words(self.seconds), host.active.lines()
        hint = None
        if self.key:
            hint = (
                f"if it needs longer here, raise '{self.key}' in [budget] of the profile,"
                f" {self.seconds:g} now"
            )
        doing = "\n".join(running) or "no command on the host"
        return TimeIsUp(f"Time is up for {self.what}: {words}.\nat work: {doing}", hint=hint)


class Clock:
    """The one alarm of this process (SIGALRM): raises `Limit.over` in the main thread.

    `host` is called whenever the clock starts; its pace stretches the limit.
    """

    def __init__(self, host: Callable[[], Host | None]) -> None:
        self._host = host
        self._limit: Limit | None = None
        self._left = 0.0  # of the limit, as a part of the whole
        self._whole = 0.0  # seconds
        self._phase = False
        self._goes = False
        self._unless: Callable[[], bool] = bool
        self._before: Any = None

    @property
    def counts(self) -> bool:
        """Whether anybody's time is counted."""
        return self._limit is not None

    def start(self, limit: Limit, unless: Callable[[], bool] = bool) -> None:
        """Count from now on, or from the next phase on, in the main thread.

        Nothing is raised where `unless` returns True then (a person is at the debugger).
        """
        self._unless = unless
        self._before = signal.signal(signal.SIGALRM, self._strike)
        self._limit, self._left = limit, 1.0
        self._go()

    def cancel(self) -> None:
        """Count no more."""
        if self._limit is not None:
            self._stop()
            self._limit = None
            signal.signal(signal.SIGALRM, self._before)

    @contextlib.contextmanager
    def phase(self) -> Iterator[None]:
        """Within the block the time counts, and the alarm may strike."""
        self._phase = True
        self._go()
        try:
            yield
        finally:
            self._stop()
            self._phase = False

    @contextlib.contextmanager
    def replaced_by(self, limit: Limit) -> Iterator[None]:
        """Within the block `limit` counts in place of the current one, which is then resumed."""
        assert self._limit is not None
        self._stop()
        before = self._limit, self._left
        self._limit, self._left = limit, 1.0
        self._go()
        try:
            yield
        finally:
            self._stop()
            if self._limit is not None:  # else it was cancelled meanwhile
                self._limit, self._left = before
                self._go()

    def _go(self) -> None:
        if self._limit is not None and self._phase:
            self._goes = True
            self._whole = self._limit.on(self._host())
            signal.setitimer(signal.ITIMER_REAL, self._left * self._whole)

    def _stop(self) -> None:
        if self._goes:
            self._goes = False  # an alarm that is on its way finds this, and does nothing
            left, _ = signal.setitimer(signal.ITIMER_REAL, 0)
            self._left = min(1.0, max(left, LEAST) / self._whole)

    def _strike(self, signum: int, frame: types.FrameType | None) -> None:
        if self._goes and self._limit is not None and not self._unless():
            raise self._limit.over(self._host())
