"""Questions that do not depend on each other, some at a time: most of their time is the way."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

# A connection carries ten commands at a time by default (sshd_config(5), MaxSessions), and others
# may need some of those.
AT_ONCE = 4


class Together:
    """Asks within a block; a question's error is raised where its result is asked for.

    For what changes nothing. Where the block is left by an error, what has not begun is dropped;
    what has comes to its own end, for which an interrupted run does not wait.

        with Together() as together:
            kernel = together.ask(host.run, "uname", "-r")
            groups = together.ask(host.sh, GROUPS)
            return kernel.result().out, groups.result().out
    """

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="together")

    def __enter__(self) -> Together:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        waits = kind is None or issubclass(kind, Exception)
        self._pool.shutdown(wait=waits, cancel_futures=True)

    def ask(self, question: Callable[P, T], *words: P.args, **options: P.kwargs) -> Future[T]:
        """Begin to ask, as soon as there is room; the record has it with the stage of now."""
        context = copy_context()
        return self._pool.submit(lambda: context.run(question, *words, **options))
