"""What the second stage may do after its change: a test gives one of these to its mini-suite."""

from __future__ import annotations

import os
import signal
import time
from types import FunctionType
from typing import TYPE_CHECKING

from harness.errors import LabError
from harness.host.command import HostUnreachable
from harness.run.job import run_job

if TYPE_CHECKING:
    from tests.sample.stages import Make

CHINESE = "正在把驱动程序安装到机密容器的根文件系统里，" * 4  # more than a line of 80 columns
HANGS = "echo hung; exec sleep 1000"


def nothing(stage: Make) -> None: ...


def keep(stage: Make) -> None:
    """A file in two new folders, which later runs are to find."""
    path = stage.path.parent / "new" / "er" / "kept [1]"
    if path.exists():
        return
    journal, host = stage.run.journal, stage.run.host
    folders = [str(path.parent), str(path.parent.parent)]
    journal.record(stage.name, "folders", [["rmdir", "--", *folders]], durable=True)
    journal.save_file(stage.name, str(path), durable=True)
    host.run("mkdir", "-p", "--", str(path.parent))
    host.run("touch", "--", str(path))


def litter(stage: Make) -> None:
    """Make a file, of which no journal knows."""
    stage.run.host.run("touch", str(stage.path.with_name("litter")))


def see(stage: Make) -> None:
    """Keep something for later runs, or find it kept by one; and write down what is seen of it."""
    if ("two", "make it") not in stage.run.kept():
        stage.run.journal.record("two", "make it", [["true"]], durable=True)
    seen = f"{stage.run.journal.state}/stages/two.seen"
    stage.run.host.sh('mkdir -p "${1%/*}"; echo "$2" >"$1"', seen, stage.run.id)


def work(stage: Make) -> None:
    """Have a job on the host: its folder is in one of all jobs."""
    run_job(stage.run.host, "work", ["true"], timeout=60, journal=stage.run.journal)


def spoil_the_note(stage: Make) -> None:
    """Have what the fingerprint has noted of the host be no JSON."""
    for note in (stage.path.parent / "state" / "fingerprint").iterdir():
        note.write_text("{")


def hang(stage: Make) -> None:
    stage.run.host.sh(HANGS, timeout=500, on_line=stage.run.progress)


def ring(stage: Make) -> None:
    """Its time is up while a command of it runs."""
    stage.run.host.sh(HANGS, on_line=lambda _: signal.raise_signal(signal.SIGALRM))


def _strike(signum: int) -> None:
    signal.raise_signal(signum)


def _strike_at_no_line(signum: int) -> None:
    """Have a signal come at an instruction that belongs to no line of the source."""
    code = _strike.__code__
    units = len(code.co_code) // 2
    # entries of "no location" (15) for up to 8 code units each: CPython's Objects/locations.md
    entries = [min(8, units - at) for at in range(0, units, 8)]
    table = bytes(0x80 | 15 << 3 | (length - 1) for length in entries)
    FunctionType(code.replace(co_linetable=table), globals())(signum)


def interrupt_at_no_line(stage: Make) -> None:
    _strike_at_no_line(signal.SIGINT)


def ring_at_no_line(stage: Make) -> None:
    _strike_at_no_line(signal.SIGALRM)


def time_out(stage: Make) -> None:
    stage.run.host.run("sleep", "1000", timeout=0.2)


def wait(stage: Make) -> None:
    """Say much, and go on when a file is there."""
    print("captured: secret of the test's own")
    stage.run.progress(CHINESE)
    while not stage.path.with_name("go").exists():
        time.sleep(0.01)
    stage.run.progress("goes on")


def fail(stage: Make) -> None:
    raise KeyError("x")


def find_no_card(stage: Make) -> None:
    raise LabError("No card.", hint="put one in")


def unreachable(stage: Make) -> None:
    raise HostUnreachable("Host 'lab' was lost.")


def tell_a_fact_and_fail(stage: Make) -> None:
    stage.run.fact("f", {"a": 1})
    raise KeyError("x")


def tell_secrets(stage: Make) -> None:
    stage.run.fact("word", "hush-hush s3cr3t-value")


def fail_with_secrets(stage: Make) -> None:
    """So does its undo."""
    secret = os.environ["MINI_PLAIN"]
    stage.run.journal.record("two", secret, [["sh", "-c", "echo $MINI_PLAIN; exit 1"]])
    raise LabError(f"stage with {secret}", hint=os.environ["MINI_HARD"])


def leave_what_cannot_be_undone(stage: Make) -> None:
    stage.run.journal.record("two", "stuck", [["sh", "-c", "echo why >&2; exit 5"]])


def fill_the_disk(stage: Make) -> None:
    """That of the record, which can be written no more."""
    assert stage.run.trace._file is not None
    os.dup2(os.open("/dev/full", os.O_WRONLY), stage.run.trace._file)


def change_for_later_runs(stage: Make) -> None:
    file = str(stage.path.with_name("kept file"))
    stage.run.journal.save_file("two", file, durable=True)
    stage.run.host.write(file, "after")


def keep_for_later_runs(stage: Make) -> None:
    """And tell whether it was kept already, and whether another stage's was, which never is."""
    ours = [stage.run.is_ours(name, "make it") for name in ("two", "one")]
    stage.run.fact("ours", ours)
    stage.run.journal.record("two", "make it", [["true"]], durable=True)
