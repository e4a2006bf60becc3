"""How a fault of the catalogue changes what a replayed host answers."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache

from harness.host.command import HostRebooted, HostUnreachable
from harness.record.trace import STAGE
from tests.unit.replay import Change, ReplayHost, Reply, Words
from tests.unit.stages.lab import record
from tests.unit.stages.server import JSON, Server
from vlab import faults
from vlab.faults import Fault


def set_off(fault: Fault, host: ReplayHost, server: Server) -> None:
    """From now on, the host and its model server answer as with the fault."""
    host.without = {*fault.without}
    for one in fault.replay:
        if one.job:
            host.job(one.job, one.status, one.out)
        elif one.path:
            server.answers[one.path] = (int(one.status), JSON, one.out.encode())
            server.turns[one.path] = one.turns
        else:
            change = _Change((*one.asks,), _Answer(one, host), stage=one.stage, turns=one.turns)
            host.changes.insert(0, change)


@dataclass
class _Change(Change):
    """One for commands of a stage, or of the tests; or for some of them."""

    stage: str = ""
    turns: Sequence[int] = ()
    seen: int = 0

    def fits(self, words: Words) -> bool:
        if self.stage not in ("", STAGE.get() or "suite") or not super().fits(words):
            return False
        self.seen += 1
        return not self.turns or self.seen in self.turns


@dataclass
class _Answer:
    """The answer to a command, as a fault has it."""

    fault: faults.Reply
    host: ReplayHost
    used: bool = False  # it has changed a recorded answer

    def __call__(self, words: Words) -> Reply:
        if self.fault.lost:
            raise HostUnreachable("Host 'lab' was lost: the ssh master connection is gone")
        if self.fault.rebooted:
            if self.host.changes[0].texts:
                self.host.changes.insert(0, Change((), self))  # whatever is asked from now on
            raise HostRebooted(f"Host '{self.host.name}' has rebooted since the run began.")
        if self.fault.late:
            return Reply(124, self.fault.out, self.fault.err, seconds=1e6)
        if not self.fault.old:
            return Reply(int(self.fault.status), self.fault.out, self.fault.err)
        found = self.host._recorded(words)
        out, count = re.subn(self.fault.old, self.fault.new, found.out, flags=re.MULTILINE)
        self.used |= count > 0
        return Reply(found.status, out, found.err)


def in_vain(host: ReplayHost) -> Iterator[str]:
    """What was to be replaced, and was in no answer."""
    for change in host.changes:
        answer = change.answer
        if isinstance(answer, _Answer) and answer.fault.old and not answer.used:
            yield f"nothing to change: no answer to {change.texts} has {answer.fault.old!r}"


def named(fault: Fault) -> Fault:
    """With what the recorded lab calls things in the place of `$gpu` and such."""
    return faults.filled(fault, _names())


@cache
def _names() -> dict[str, str]:
    facts, profile = record().facts, record().profile
    [device] = facts["gpu"]["devices"]
    vital = {why.split()[0]: bdf for bdf, why in facts["gpu"]["vital"].items()}
    return {
        "host": "lab",
        "gpu": device["bdf"],
        "group": device["group"],
        "disk": vital["disk"],
        "interface": vital["interface"],
        "vendor": device["vendor"],
        "device": device["device"],
        "class": profile["gpu"]["classes"][0],
        "driver": facts["gpu"]["before"][device["bdf"]],
        "address": facts["network"]["address"],
        "gateway": facts["network"]["gateway"],
        "container": facts["container"]["id"],
        "bare": f"{profile['container']['name']}-bare-{record().run_id}",
        "kernel": facts["rootfs"]["kernel_release"],
        **{f"{a}_{b}": str(v) for a in ("guest", "kata", "image", "network", "model")
           for b, v in profile[a].items()},
    }  # fmt: skip
