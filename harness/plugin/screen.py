"""The terminal of a run: lines from any thread, and a sign of life while something takes long."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, TextIO

from harness.text import readable

if TYPE_CHECKING:
    from rich.live import Live

QUIET = 60.0  # seconds without a line after which a plain one says that something still runs
REDRAW = 0.25  # seconds between two states of the live line
DELAY = 0.5  # seconds before there is one: most tests are quicker


class Screen:
    """Writes where pytest writes, though pytest captures output, and masks all of it.

    pytest points file descriptor 1 elsewhere while a fixture or test works, so this writes to a
    duplicate that is taken before; `output.Output` has pytest's own reporter write here, too.
    One lock keeps lines whole. `live` draws the state of a `task` into the terminal's last line
    (by rich); without it there are plain lines alone, for a log.
    """

    def __init__(
        self,
        stream: TextIO,
        mask: Callable[[str], str],
        *,
        captured: bool = True,
        live: bool = False,
        quiet: float = QUIET,
    ) -> None:
        self.encoding = stream.encoding or "utf-8"
        self.live = live
        self.begin_line: Callable[[], object] = lambda: None  # ends one that others have begun
        self.relay: Callable[[str], object] | None = None  # shows our lines in the place of us
        self._stream = stream
        self._mask = mask
        self._quiet = quiet
        self._fd: int | None = None
        if captured:  # otherwise tests print to the very stream, and the order is to be kept
            with contextlib.suppress(OSError):  # a stream of text alone, as pytester's
                self._fd = os.dup(stream.fileno())
        self._lock = threading.RLock()
        self._task: tuple[str, float] | None = None
        self._last = ""
        self._wrote = time.monotonic()
        self._drawn: Live | None = None

    def close(self) -> None:
        """Give the descriptor back."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def isatty(self) -> bool:
        """As of the stream."""
        return self._stream.isatty()

    def flush(self) -> None:
        """All is written at once."""

    def write(self, text: str) -> int:
        """As of a file; the live line makes room."""
        with self._lock:
            self._erase()
            self._wrote = time.monotonic()
            self._put(self._mask(text))
        return len(text)

    def say(self, text: str) -> None:
        """A line of its own, at once; `readable`, whoever's words are in it."""
        text = readable(text)
        with self._lock:
            self._last = text
            if self.relay is not None:
                self._wrote = time.monotonic()
                self.relay(self._mask(text))
                return
            self.begin_line()
            self.write(text + "\n")

    @contextlib.contextmanager
    def task(self, name: str) -> Iterator[None]:
        """Show that `name` goes on while the block runs; one within another is part of it."""
        if self._task is not None:
            yield
            return
        over = threading.Event()
        with self._lock:
            self._task, self._last, self._wrote = (name, time.monotonic()), "", time.monotonic()
        threading.Thread(target=self._watch, args=(over,), daemon=True, name="screen").start()
        try:
            yield
        finally:
            with self._lock:
                over.set()
                self._task = None
                self._erase()

    def rest(self) -> None:
        """Show nothing more of the task that is under way."""
        with self._lock:
            self._task = None
            self._erase()

    def _watch(self, over: threading.Event) -> None:
        while not over.wait(REDRAW if self.live else min(self._quiet, 1.0)):
            with self._lock:
                if self._task is not None and not over.is_set():
                    self._sign_of_life(*self._task)

    def _sign_of_life(self, name: str, started: float) -> None:
        seconds = time.monotonic() - started
        if self.live and seconds >= DELAY:
            self._draw(name, seconds)
        elif not self.live and time.monotonic() - self._wrote >= self._quiet:
            self.say(f"[{name}] still running, {_elapsed(seconds)}")

    def _draw(self, name: str, seconds: float) -> None:
        from rich.console import Console
        from rich.live import Live
        from rich.text import Text

        if self._drawn is None:
            self.begin_line()
            columns = os.get_terminal_size(self._fd).columns if self._fd is not None else 0
            file: Any = SimpleNamespace(write=self._put, flush=self.flush)
            console = Console(file=file, force_terminal=True, width=columns or 80)
            self._drawn = Live(console=console, auto_refresh=False, transient=True)
            self._drawn.start()
            console.show_cursor()  # what is killed now leaves the terminal as it was
        last = " ".join(self._mask(self._last).split())
        line = Text.assemble((name, "bold"), f"  {_elapsed(seconds)}  ", (last, "dim"))
        line.no_wrap, line.overflow = True, "ellipsis"
        self._drawn.update(line, refresh=True)

    def _erase(self) -> None:
        drawn, self._drawn = self._drawn, None
        if drawn is not None:
            drawn.stop()

    def _put(self, text: str) -> None:
        data = text.encode(self.encoding, "backslashreplace")
        with contextlib.suppress(OSError):  # the terminal is closed: the undo goes on all the same
            if self._fd is None:
                self._stream.write(data.decode(self.encoding))
                self._stream.flush()
                return
            while data:
                data = data[os.write(self._fd, data) :]


def can_be_live(stream: TextIO, environ: Mapping[str, str]) -> bool:
    """Whether somebody looks on: a terminal that can move its cursor, and no CI."""
    dumb = environ.get("TERM", "dumb") in ("", "dumb")
    return stream.isatty() and not dumb and not environ.get("CI")


def _elapsed(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
