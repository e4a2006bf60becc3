"""What stands in for vLLM: command line, checks, engine, requests, answers and HTTP, a file each.

Nothing here imports ``dataclasses`` or the like: an import costs seconds on an emulated processor.
"""


class StandInError(Exception):
    """The server cannot start; the message is what vLLM's log ends with, ``why`` is the cause here.

    ``in_engine``: vLLM's engine process fails so, and its API server ends for that.
    """

    def __init__(self, message: str, why: str = "", *, in_engine: bool = False) -> None:
        super().__init__(message)
        self.why = why
        self.in_engine = in_engine
