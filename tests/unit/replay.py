"""A host that answers from the record of a real run: argv in; status, output and error out.

It takes the place of the process alone (`harness.host.process.execute`): quoting, deadlines, the
judging of exit statuses, error messages and the trace are the real ones. Nothing is started, so a
whole acceptance run takes a fraction of a second, and a test can say what the host answers instead.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from itertools import takewhile
from pathlib import Path
from typing import IO, Any

from fixtures.rootfs.mounted import BENEATH
from harness.host.command import OnLine, Result, encode
from harness.host.host import Host
from harness.host.transport import LocalTransport
from harness.record.trace import STAGE, Trace

Words = tuple[str, ...]


class Unknown(AssertionError):
    """A command that the record has no reply to, and no test has given one."""


@dataclass(frozen=True)
class Reply:
    """How a command ended; `whole` is False where the record kept only the end of its output."""

    status: int = 0
    out: str = ""
    err: str = ""
    seconds: float = 0.0
    whole: bool = True


Answer = Callable[[Words], Reply]
Key = tuple[str | None, Words]  # stage, argv


@dataclass(frozen=True)
class Recorded:
    """What a record has that can be replayed.

    `facts` are those of the stages, as JSON; `changes` what the journal was told, in order. `pace`
    is the host's (`Host.pace`), which the deadlines in its commands have.
    """

    run_id: str
    profile: Mapping[str, Any]
    facts: Mapping[str, Any]
    changes: Sequence[Mapping[str, Any]]
    replies: Mapping[Key, Sequence[Reply]]
    pace: float = 1.0

    def said(self, *texts: str) -> str:
        """What the last command with these texts printed: for a form of it that came later."""
        replies = [r for (_, words), r in self.replies.items() if _has(words, texts)]
        return replies[-1][-1].out


def _has(words: Words, texts: Sequence[str]) -> bool:
    line = " ".join(words)
    return all(text in line for text in texts)


@cache
def recorded(path: Path) -> Recorded:
    """Read a record. The run's id is taken over, so that the names made of it are the same."""
    events = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    replies: dict[Key, list[Reply]] = defaultdict(list)
    facts: dict[str, Any] = {}
    for event in events:
        if event["kind"] == "command":
            whole = event["out_bytes"] <= len(encode(event["out"]))
            reply = Reply(event["rc"], event["out"], event["err"], event["seconds"], whole)
            words = same(event["argv"])
            replies[event["stage"], words].append(reply)
            if event["stage"] is not None:  # for who asks again outside of the stage
                replies[None, words].append(reply)
        elif event["kind"] == "stage" and event["state"] == "ok":
            facts[event["name"]] = event["facts"]
    changes = [event for event in events if event["kind"] == "change"]
    paces = [e["value"] for e in events if e["kind"] == "fact" and e["name"] == "pace"]
    pace = paces[0] if paces else 1.0
    return Recorded(events[0]["id"], events[0]["profile"], facts, changes, replies, pace)


def same(argv: Sequence[str]) -> Words:
    """An argv without what is another each time: exec ids, names of backups, sizes of inputs.

    And without the text of a program of ours.
    """
    words = [re.sub(r"^exec-\d+$", "exec-N", word) for word in argv]
    if BENEATH in words:  # the record's are paths of the guest as well
        at = words.index(BENEATH)
        words[at - 4 : at + 3] = []
    if "--fifo-dir" in words:  # the record is from before it
        at = words.index("--fifo-dir")
        words[at : at + 2] = []
    words = [re.sub(r"/[0-9a-f]{32}$", "/BACKUP", word) for word in words]
    if any("\nstate=gone\n" in word for word in words[:3]):  # a look at a job
        words = [*words[:2], "LOOK", *words[3:9]]
    if any('\nctr run "$@" & run=$!\n' in word for word in words[:3]):
        words[2] = "START"
    if any("\nanswered() {" in word for word in words[:3]):
        words[2] = "REMOVE"
    # A program of ours is known by what it says of itself: what it prints has to stay the same.
    words = [word.partition("\n")[0] if word.startswith('"""') else word for word in words]
    if any('\ncat >"$' in word for word in words[:3]):  # it is told how many bytes it has to read
        words[-1] = "BYTES"
    return tuple(words)


def shown(words: Words) -> Words:
    """An argv for a message: of a long script the beginning."""
    return tuple(word if len(word) < 200 else f"{word[:200]}..." for word in words)


@dataclass
class Change:
    """What a test puts in place of recorded replies: for an argv with all of these texts in it."""

    texts: tuple[str, ...]
    answer: Answer
    used: bool = field(default=False, compare=False)

    def fits(self, words: Words) -> bool:
        return _has(words, self.texts)


class ReplayHost(Host):
    """The host of a record. An argv that was run several times gets its replies in their order.

    The last one is repeated. A stage gets the replies that the recorded run's same stage got. When
    `ready` is set, all is as at the end of that stage: only the last reply of each argv counts.
    """

    def __init__(self, record: Recorded, trace: Trace, *, ready: bool = False) -> None:
        transport = LocalTransport()
        transport.name = "lab"
        super().__init__(transport, trace)
        self.record = record
        self.pace = record.pace
        self.ready = ready
        self.asked: list[Words] = []
        self.inputs: list[str] = []
        self.written: dict[str, str] = {}  # by path, what `write` was given last
        self.unknown: list[str] = []
        self.changes: list[Change] = []
        self.spares: list[Change] = []
        self.without: set[str] = set()  # programs that it lacks
        self._turn: dict[Key, int] = defaultdict(int)

    def handshake(self) -> bool:
        return True  # there is nobody to meet

    def lacking(self, programs: Collection[str]) -> list[str]:
        return sorted({*programs} & self.without)

    def reply(
        self,
        *texts: str,
        status: int = 0,
        out: str = "",
        err: str = "",
        seconds: float = 0.0,
        by: Answer | None = None,
    ) -> None:
        """From now on, this is what a command answers whose argv has each of `texts` in it.

        Texts of a script are texts of its argv. `by` is a function that makes the reply.
        """
        given = Reply(status, out, err, seconds)
        self.changes.insert(0, Change(texts, by or (lambda words: given)))

    def filter(self, *texts: str, by: Callable[[str], str]) -> None:
        """The recorded output, as a function makes it."""

        def filtered(words: Words) -> Reply:
            reply = self._recorded(words)
            return replace(reply, out=by(reply.out))

        self.reply(*texts, by=filtered)

    def edit(self, *texts: str, old: str, new: str) -> None:
        """The recorded output, with another text in it."""

        def edited(out: str) -> str:
            assert old in out, f"nothing to change: no {old!r} in {out!r}"
            return out.replace(old, new)

        self.filter(*texts, by=edited)

    def spare(self, *texts: str, status: int = 0, out: str = "") -> None:
        """As `reply`, where the record itself has no answer."""
        given = Reply(status, out)
        self.spares.append(Change(texts, lambda words: given))

    def job(self, name: str, status: int | str, says: str) -> None:
        """A job of this name ends with a status, or is 'gone': killed without one."""

        def looked(words: Words) -> Reply:
            offset, limit, _ = map(int, words[-3:])
            data = encode(says)
            return Reply(out=f"{status} {len(data)}\n{says.encode()[offset:][:limit].decode()}")

        self.reply("state=gone", f"-{name}.service", by=looked)
        self.reply("date +%s%3N", f"-{name}", out="0")
        self.changes[0].used = True  # one that was killed is not asked for

    def unused(self) -> list[tuple[str, ...]]:
        """The changes that no command has asked for: a test that makes one tests nothing."""
        return [change.texts for change in self.changes if not change.used]

    def _once(
        self,
        words: Sequence[str],
        timeout: float,
        ok: Collection[int],
        data: bytes | IO[bytes] | None,
        on_line: OnLine | None,
    ) -> Result:
        argv = tuple(words)
        self.asked.append(argv)
        if isinstance(data, bytes):
            self.inputs.append(data.decode())
            if len(argv) > 4 and "mktemp" in argv[2]:
                self.written[argv[4]] = self.inputs[-1]
        reply = self._answer(argv)
        sizes = len(encode(reply.out)), len(encode(reply.err))
        result = Result(argv, reply.status, reply.out, reply.err, reply.seconds, *sizes)
        try:
            self._judge(result, timeout, ok)
        except Exception as error:
            self._record_failure(error, argv)
            raise
        self.trace.command(self.name, result)
        return result

    def _answer(self, argv: Words) -> Reply:
        for change in self.changes:
            if change.fits(argv):
                change.used = True
                return change.answer(argv)
        return self._recorded(argv)

    def recorded_last(self, argv: Words) -> Reply:
        """The last reply that the recorded stage got."""
        return self.record.replies[self._key(argv)][-1]

    def _key(self, argv: Words) -> Key:
        return STAGE.get() or None, same(argv)

    def _recorded(self, argv: Words) -> Reply:
        key = self._key(argv)
        if key not in self.record.replies:
            key = (None, key[1])
        replies = self.record.replies.get(key, ())
        turn = len(replies) - 1 if self.ready else min(self._turn[key], len(replies) - 1)
        self._turn[key] += 1
        if replies and replies[turn].whole:
            return replies[turn]
        for spare in self.spares:
            if spare.fits(argv):
                return spare.answer(argv)
        raise self._unknown(key[1], "The record has the end of its output.\n" if replies else "")

    def _unknown(self, words: Words, why: str = "") -> Unknown:
        def likeness(other: Words) -> tuple[int, int]:
            equal = sum(a == b for a, b in zip(words, other, strict=False))
            pairs = zip(" ".join(words), " ".join(other), strict=False)
            return equal, len(list(takewhile(lambda pair: pair[0] == pair[1], pairs)))

        known = {words for _, words in self.record.replies}
        nearest = sorted(known, key=likeness, reverse=True)[:3]
        text = (
            f"the record has no reply to this command of stage '{STAGE.get()}':\n"
            f"  {shown(words)}\n{why}"
            "Give it one by `reply`, or make the record anew (CONTRIBUTING.md). The nearest are:\n"
            + "\n".join(f"  {shown(other)}" for other in nearest)
        )
        self.unknown.append(text)
        return Unknown(text)
