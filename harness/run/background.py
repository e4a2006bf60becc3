"""Stages that depend on few others, started early: each in a thread, while tests go on.

A run then takes as long as its longest chain of stages, and not the sum of them all.
"""

from __future__ import annotations

import inspect
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future, wait
from functools import update_wrapper
from typing import Any, Generic, Protocol, TypeVar

import pytest

from harness.host.cancellation import Cancellation, Cancelled
from harness.host.host import Host
from harness.run.clock import Limit

GRACE = 120.0  # seconds that a stage gets to clean up behind itself when it is ended
KILL = 30.0  # seconds that it gets after that, when none of its commands run any more

T = TypeVar("T")


class HasBackground(Protocol):
    """A run, as far as its early fixtures ask for it (`harness.run.stage.Run`)."""

    background: Background


class Early(Generic[T]):
    """The function of an early fixture; called by pytest, it gives what its thread has made.

    Raises TypeError where a function cannot be early.
    """

    def __init__(self, function: Callable[..., T]) -> None:
        if not inspect.isfunction(function):
            raise TypeError(f"{function!r} cannot be early: it is no function.")
        name = function.__name__
        if inspect.isgeneratorfunction(function):
            raise TypeError(
                f"Fixture '{name}' cannot be early: it yields, and its end would belong to no"
                " thread; let the stage put its undo into the journal, and return the facts."
            )
        arguments = inspect.signature(function).parameters
        if "run" not in arguments or "request" in arguments:
            raise TypeError(f"Fixture '{name}' cannot be early: it takes 'run', and no 'request'.")
        update_wrapper(self, function)
        self.name = name
        self.needs = [*arguments]  # the fixtures that it takes
        self.function: Callable[..., T] = function
        KNOWN[name] = self

    def __call__(self, **arguments: Any) -> T:
        run: HasBackground = arguments["run"]
        return run.background.result(self, arguments)


KNOWN: dict[str, Early[Any]] = {}  # every early fixture that was imported, by its name


class _Task:
    """An early fixture's function, at work in a thread."""

    def __init__(self, early: Early[Any], arguments: Mapping[str, Any]) -> None:
        self.early = early
        self.arguments = arguments
        self.cancellation = Cancellation()
        self.future: Future[Any] = Future()

    def start(self, limit: Limit | None) -> None:
        """Begin; `limit` ends it as it would end a stage that a test makes."""
        if limit is not None:
            host: Host = self.arguments["run"].host
            timer = threading.Timer(limit.on(host), self._end, [limit])
            timer.daemon = True
            timer.start()
            self.future.add_done_callback(lambda _: timer.cancel())
        threading.Thread(target=self._work, name=self.early.name, daemon=True).start()

    def _end(self, limit: Limit) -> None:
        host: Host = self.arguments["run"].host
        self.cancellation.ask(limit.over(host))

    def _work(self) -> None:
        try:
            with self.cancellation.heeded():
                value = self.early.function(**self.arguments)
        except BaseException as error:  # it is raised where the fixture is asked for
            self.future.set_exception(error)
        else:
            self.future.set_result(value)


class Background:
    """The early stages of one run."""

    def __init__(self) -> None:
        self._tasks: dict[Early[Any], _Task] = {}

    def start_ready(
        self,
        waiting: dict[str, Early[Any]],
        made: Mapping[str, object],
        limits: Mapping[str, Limit],
    ) -> None:
        """Start those waiting whose arguments have all been made, and take them out.

        `limits` are budgets, by a fixture's name, counted from its start.
        """
        for name, early in list(waiting.items()):
            if all(need in made for need in early.needs):
                del waiting[name]
                self.start(early, {need: made[need] for need in early.needs}, limits.get(name))

    def start(
        self, early: Early[Any], arguments: Mapping[str, Any], limit: Limit | None = None
    ) -> None:
        """Call an early fixture's function in a thread."""
        task = self._tasks[early] = _Task(early, arguments)
        task.start(limit)

    def result(self, early: Early[T], arguments: Mapping[str, Any]) -> T:
        """What the thread has made, or its error; where none was started it is made here."""
        task = self._tasks.get(early)
        if task is None or task.arguments != arguments:
            return early.function(**arguments)
        try:
            wait([task.future])
        except pytest.fail.Exception as error:  # pytest-timeout: this test's time is up
            task.cancellation.ask(error)  # so is the stage's, which then says so
            wait([task.future], GRACE)
            if not task.future.done():
                raise
        value: T = task.future.result()
        return value

    def close(self, grace: float = GRACE, kill: float = KILL) -> list[str]:
        """End what still runs; after this no thread runs a command. The names of those stuck."""
        tasks = [task for task in self._tasks.values() if not task.future.done()]
        for task in tasks:
            task.cancellation.ask(Cancelled("The run has ended."))
        wait([task.future for task in tasks], grace)
        for task in tasks:
            task.cancellation.insist()
        wait([task.future for task in tasks], kill)
        return [task.early.name for task in tasks if not task.future.done()]
