"""The screen: a live line in a real (pseudo) terminal, plain lines in a pipe, from any thread."""

from __future__ import annotations

import fcntl
import io
import os
import pty
import re
import struct
import subprocess
import sys
import termios
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

import pyte
import pytest

from harness.plugin.screen import Screen, can_be_live
from tests.sample import during
from tests.sample.during import CHINESE
from tests.unit.mini import QUICK, Mini


class Terminal:
    """A pseudo terminal with somebody who looks at it."""

    def __init__(self, columns: int = 80, lines: int = 24) -> None:
        self.master, self.slave = pty.openpty()
        size = struct.pack("HHHH", lines, columns, 0, 0)
        fcntl.ioctl(self.slave, termios.TIOCSWINSZ, size)
        self.emulator = pyte.Screen(columns, lines)
        self._stream = pyte.ByteStream(self.emulator)

    def lines(self) -> list[str]:
        """What is to be seen."""
        return [line.rstrip() for line in self.emulator.display if line.strip()]

    def until(self, text: str) -> list[str]:
        """Look on until `text` is to be seen; the test's timeout ends it if it never is."""
        while not any(text in line for line in self.lines()):
            self._stream.feed(os.read(self.master, 65536))
        return self.lines()

    def close(self) -> None:
        os.close(self.master)
        os.close(self.slave)


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[Terminal]:
    """A terminal of 80 columns that can move its cursor, wherever the tests themselves run."""
    monkeypatch.setenv("TERM", "xterm")
    opened = Terminal()
    yield opened
    opened.close()


@pytest.fixture
def pipe() -> Iterator[tuple[TextIO, TextIO]]:
    """Both ends of a pipe: what a log reads, and what a run writes to."""
    read, write = os.pipe()
    with os.fdopen(read, "r") as reader, os.fdopen(write, "w") as writer:
        yield reader, writer


def no_mask(text: str) -> str:
    return text


def test_the_live_line_is_under_the_plain_ones(terminal: Terminal) -> None:
    with os.fdopen(os.dup(terminal.slave), "w") as stream:
        screen = Screen(stream, no_mask, live=True)
        with screen.task("rootfs"):
            screen.say("[rootfs] first")
            screen.say(CHINESE)
            seen = terminal.until("…")
            assert seen[0] == "[rootfs] first"
            assert "".join(seen[1:-1]).replace(" ", "") == CHINESE
            assert re.match(r"rootfs  (\d+ min )?\d+ s  正在把", seen[-1])
            assert seen[-1].endswith("…")
            screen.say("[rootfs] second")
            *_, plain, line = terminal.until("s  [rootfs] second")
            assert plain == "[rootfs] second"
            assert line.startswith("rootfs  ")
        screen.write("dots.")
        assert terminal.until("dots.")[-2:] == ["[rootfs] second", "dots."]
        screen.close()


def test_a_log_is_told_that_something_still_runs(pipe: tuple[TextIO, TextIO]) -> None:
    reader, writer = pipe
    screen = Screen(writer, no_mask, quiet=0.01)
    with screen.task("image"), screen.task("image's part"):
        assert reader.readline().startswith("[image] still running, ")
        assert reader.readline().startswith("[image] still running, ")
    screen.say("\udcff 机密")
    lines = iter(reader.readline, "\\udcff 机密\n")
    assert {line.partition(", ")[0] for line in lines} <= {"[image] still running"}
    screen.close()


def test_lines_of_many_threads_stay_whole(pipe: tuple[TextIO, TextIO]) -> None:
    reader, writer = pipe
    screen = Screen(writer, lambda text: text.replace("secret", "***"))
    words = [f"{number} secret " + "x" * 300 for number in range(8)]
    threads = [
        threading.Thread(target=lambda word=word: list(map(screen.say, [word] * 40)))
        for word in words
    ]
    for thread in threads:
        thread.start()
    lines = [reader.readline() for _ in range(8 * 40)]
    for thread in threads:
        thread.join()
    screen.close()
    assert sorted(set(lines)) == [word.replace("secret", "***") + "\n" for word in words]


def test_a_stream_without_a_descriptor_will_do() -> None:
    stream = io.StringIO()
    screen = Screen(stream, no_mask)
    screen.say("line \udcff")
    screen.close()
    assert stream.getvalue() == "line \\udcff\n"


@pytest.mark.parametrize(
    ("environ", "live"),
    [
        ({"TERM": "xterm"}, True),
        ({"TERM": "dumb"}, False),
        ({}, False),
        ({"TERM": "xterm", "CI": "true"}, False),
    ],
)
def test_who_looks_on(terminal: Terminal, environ: dict[str, str], live: bool) -> None:
    with os.fdopen(os.dup(terminal.slave), "w") as stream:
        assert can_be_live(stream, environ) == live
    with open(os.devnull, "w") as stream:
        assert not can_be_live(stream, environ)


def test_pytest_in_a_terminal(tmp_path: Path, terminal: Terminal) -> None:
    """pytest's own dots and the live line do not get into each other's way."""
    mini = Mini(tmp_path / "m", during.wait)
    clean = {key: value for key, value in mini.environ.items() if key != "CI"}
    options = ["-m", "acceptance", "--allow-local", "--no-header"]
    process = subprocess.Popen(
        [sys.executable, "-m", "pytest", *QUICK, *options],
        cwd=mini.folder,
        env=clean | {"TERM": "xterm"},
        stdout=terminal.slave,
        stderr=terminal.slave,
    )
    seen = terminal.until("…")
    assert seen[-1].startswith("two  ")
    (mini.host / "go").touch()
    seen = terminal.until("5 passed")
    assert process.wait() == 0
    plain = [line.partition(", ")[0] for line in seen]  # without the seconds
    before, after = plain.index("[one] ok (provisioned)"), plain.index("[two] goes on")
    chinese = "".join(seen[before + 3 : after]).replace(" ", "")
    assert chinese == f"[two]{CHINESE}"
    assert plain[before + 1 : before + 3] == [".", "test_mini.py"]
    assert plain[after + 1 : after + 5] == [
        "[two] ok (provisioned)",
        ".",
        "test_mini.py .",
        "[three] ok (provisioned)",
    ]
    assert seen[after + 6].startswith("test_mini.py .  ")
    assert seen[after + 6].endswith("[100%]")
