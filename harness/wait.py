"""Waiting with a deadline: for a condition, by its name, or for work that has none of its own."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from typing import TypeVar

from harness.errors import LabError

T = TypeVar("T")


class WaitTimeout(LabError):
    """A condition did not come about in time; the message names it and what was seen last."""


def within(seconds: float, work: Callable[[], T]) -> T:
    """What `work` gives, or raises, in that time; else TimeoutError.

    It is done in a thread, which cannot be ended but is left behind: what it holds has to be
    bounded in size.
    """
    answer: queue.SimpleQueue[Callable[[], T]] = queue.SimpleQueue()
    threading.Thread(target=_work, args=(work, answer), daemon=True, name="within").start()
    try:
        found = answer.get(timeout=seconds)
    except queue.Empty:
        raise TimeoutError(f"no end within {seconds:g} s") from None
    return found()


def _work(work: Callable[[], T], answer: queue.SimpleQueue[Callable[[], T]]) -> None:
    try:
        value = work()
    except BaseException as error:  # it is for who waits
        failure = error

        def raising() -> T:
            raise failure

        answer.put(raising)
    else:
        answer.put(lambda: value)


def wait_for(
    condition: str,
    probe: Callable[[], T | None],
    timeout: float,
    interval: float = 0.5,
    *,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], object] = time.sleep,
) -> T:
    """Call `probe` until it gives something truthy, and return that.

    `condition` completes the sentence "waited for ...". `timeout` and `interval` are seconds. A
    LabError or OSError of the probe means "not yet" and is named at the end; any other exception
    is a fault of the probe and passes through. A success after the deadline is no success: what
    came too late once will come too late again, and the deadline would mean nothing.
    """
    started = clock()
    deadline = started + timeout
    seen: object = "nothing"
    cause: BaseException | None = None
    while True:
        try:
            value = probe()
        except (LabError, OSError) as error:
            seen, cause, value = error, error, None
        else:
            seen, cause = value, None
        now = clock()
        if value and now <= deadline:
            return value
        if now >= deadline:
            late = " (it came, but too late)" if value else ""
            raise WaitTimeout(
                f"Waited {now - started:.0f} s of {timeout:.0f} s for {condition}{late};"
                f" last seen: {seen}"
            ) from cause
        sleep(min(interval, max(0.0, deadline - now)))
