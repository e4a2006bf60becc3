"""Log lines in vLLM's form: who says it, then vLLM's own head or that of uvicorn, its HTTP server.

A place such as ``api_utils.py:273`` is where vLLM 0.24.0 says the same. Lines that are only the
stand-in's have ``stand-in`` there. Lines go out by a system call each: a signal's handler may write
one while another is being written.
"""

import os
import time
from collections.abc import Iterable

OUT, ERR = 1, 2
SERVER, ENGINE = "APIServer", "EngineCore"


def write(text: str, descriptor: int = OUT, *, process: str = SERVER) -> None:
    """Write lines, each with the head that vLLM gives to all output of its processes."""
    head = f"({process} pid={os.getpid()}) "
    plain("".join(f"{head}{line}\n" for line in text.split("\n")), descriptor)


def plain(text: str, descriptor: int = OUT) -> None:
    """Write text as it is. A log that nobody reads any more ends no server."""
    rest = text.encode(errors="backslashreplace")
    try:
        while rest:
            rest = rest[os.write(descriptor, rest) :]
    except OSError:
        pass


def info(place: str, text: str) -> None:
    _say("INFO", place, text)


def warning(place: str, text: str) -> None:
    _say("WARNING", place, text)


def error(place: str, text: str) -> None:
    _say("ERROR", place, text)


def own(text: str) -> None:
    """What the stand-in has to say for itself."""
    warning("stand-in", text)


def uvicorn(text: str) -> None:
    write(f"INFO:     {text}")


def _say(level: str, place: str, text: str) -> None:
    head = f"{level} {time.strftime('%m-%d %H:%M:%S')} [{place}] "
    write("\n".join(head + line for line in text.split("\n")))


def traceback(failure: BaseException) -> str:
    """Where in the stand-in it came to an end, and the message, which begins with vLLM's type."""
    from traceback import format_tb  # only for the server that ends

    lines = "".join(format_tb(failure.__traceback__)).rstrip("\n")
    return f"Traceback (most recent call last):\n{lines}\n{failure}"


def banner(version: str, model: str) -> None:
    """The sign that vLLM begins with."""
    for line in _sign(version, model):
        info("api_utils.py:339", line)


def _sign(version: str, model: str) -> Iterable[str]:
    yield ""
    yield "       █     █     █▄   ▄█"
    yield f" ▄▄ ▄█ █     █     █ ▀▄▀ █  version {version}"
    yield f"  █▄█▀ █     █     █     █  model   {model}"
    yield "   ▀▀  ▀▀▀▀▀ ▀▀▀▀▀ ▀     ▀"
    yield ""
