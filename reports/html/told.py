"""A run's time in words: the critical path, what was waited for, the harness's own time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from reports.record.timeline import BEFORE, OWN, Owner, Step, Timeline, Wait

LARGEST, LEAST = 3, 2.0  # of a step: so many of what took longest, and no less than these seconds
WIDTH = 64  # characters of a command
Text = Callable[[str], str]


@dataclass(frozen=True)
class Line:
    """A line of the critical path: what it is, and what took longest in it."""

    what: str
    seconds: str
    parts: tuple[str, ...]


def heading(found: Timeline, text: Text) -> str:
    """How long it took in all, until the host answered, and how much of it is the harness's own."""
    share = f"{100 * found.own / found.seconds:.1f}" if found.seconds else "0"
    words = {"all": found.seconds, "before": found.before, "own": found.own}
    shown = {name: _seconds(value, text) for name, value in words.items()}
    return text("tl_sum").format(**shown, share=share)


def path(found: Timeline, text: Text) -> list[Line]:
    """The critical path, a line for each step."""
    return [_line(step, text) for step in found.path]


def waits(found: Timeline, text: Text) -> list[str]:
    """What was waited for, and what ran beside the rest."""
    return [_wait(wait, text) for wait in found.waits]


def lines(found: Timeline, text: Text) -> Iterator[str]:
    """All of it, for a terminal."""
    yield heading(found, text)
    yield ""
    yield f"{text('tl_path')}{text('colon')}".rstrip()
    for line in path(found, text):
        yield f"{line.seconds:>12}  {line.what}"
        for part in line.parts:
            yield f"{'':14}{part}"
    if found.waits:
        yield ""
        yield f"{text('tl_waits')}{text('colon')}".rstrip()
        yield from (f"  {line}" for line in waits(found, text))


def owner(one: Owner, text: Text) -> str:
    """Whose time it is."""
    return text(f"tl_{one.kind}").format(name=one.name)


def segment(kind: str, name: str, text: Text) -> str:
    """What a part of the path is: a command is its own name."""
    return text(f"tl_{kind}").format(name=name) if kind in ("job", "question", OWN) else name


def _line(step: Step, text: Text) -> Line:
    parts = []
    for kind, name, seconds in step.largest(LARGEST, LEAST):
        reached = kind == OWN and step.owner.kind == BEFORE
        what = text("tl_reached") if reached else segment(kind, name, text)
        parts.append(f"{_seconds(seconds, text)}  {_ends(what)}")
    return Line(owner(step.owner, text), _seconds(step.seconds, text), tuple(parts))


def _ends(command: str) -> str:
    """Its beginning and its end: what is run in a container stands at the end."""
    if len(command) > WIDTH:
        return f"{command[: WIDTH // 2 - 2].rstrip()} … {command[1 - WIDTH // 2 :].lstrip()}"
    return command


def _wait(wait: Wait, text: Text) -> str:
    kind = "tl_served" if wait.served else "tl_waited" if wait.seconds else "tl_beside"
    said = text(kind).format(
        stage=wait.job.owner.name,
        job=wait.job.name,
        took=_seconds(wait.job.seconds, text),
        late=_seconds(wait.late, text),
    )
    more = _seconds(wait.seconds, text)
    return text("noted").format(what=said, more=more) if kind != "tl_beside" else said


def _seconds(value: float, text: Text) -> str:
    return text("seconds_of").format(value=f"{value:.1f}")
