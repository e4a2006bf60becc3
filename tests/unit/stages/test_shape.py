"""JSON of others: whatever it is, what is told is a sentence, with clause and hint."""

from __future__ import annotations

from typing import Any

import pytest

from harness.host.shape import BadJson, Shape, read
from harness.run.stage import StageFailed
from tests.unit.stages.conftest import MakeLab
from tests.unit.stages.lab import Lab

WRONG = {
    "nothing": "",
    "null": "null",
    "a list": "[]",
    "a list of null": "[null]",
    "a list of lists": "[[]]",
    "an object": "{}",
    "a number": "7",
    "HTML": "<!doctype html>\n<html><title>502 Bad Gateway</title></html>",
    "an error": '{"error": {"code": 500, "message": "no"}}',
    "a cut end": '[{"Id": "sha256:00", "Config": {"Env"',
    "deep": "[" * 5000,
    "no UTF-8": '{"a": "\udcff"}',
    "a line before it": "WARNING: something\n[]",
}


class Inner(Shape):
    names: tuple[str, ...] = ()


class Outer(Shape):
    id: str
    inner: Inner = Inner()


@pytest.mark.case("JSON of others", "null, a list, HTML, a cut end", source="iproute2 #37")
@pytest.mark.parametrize("text", WRONG.values(), ids=WRONG)
def test_what_is_otherwise_is_told(text: str) -> None:
    with pytest.raises(BadJson, match=r"^'x' should have printed JSON, but ") as caught:
        read(text, Outer, "'x' should have printed JSON", hint="look there", clause="gpu.safe")
    assert (caught.value.hint, caught.value.clause) == ("look there", "gpu.safe")
    assert (
        text[:200].strip().encode("utf-8", "replace").decode()
        in str(caught.value).encode("utf-8", "replace").decode()
    )


def test_a_null_is_what_is_not_there() -> None:
    assert read('{"id": "a", "inner": {"names": null}, "more": 1}', Outer, "") == Outer(id="a")
    assert read('{"id": "a", "inner": null}', Outer, "").inner.names == ()
    with pytest.raises(BadJson, match="id: Field required"):
        read('{"id": null}', Outer, "")


# Every JSON of others that a stage reads: the stage, the command, and what is no answer to it.
READ = [
    ("kata", "kata-runtime env --json", "[]"),
    ("image", "docker image inspect", "{}"),
    ("image", "ctr content get", "[]"),
    ("image", "docker run --rm", "[]"),
    ("gpu", "lsblk -J", "[]"),
    ("gpu", "ip -4 -j route show default", "{}"),
    ("network", "cat -- /var/lib/cni/results/", "[]"),
    ("network", "ip -n vllmnet -j link show eth0", "[]"),
]
MADE = [
    ("network", "ip -j route show table all", "{}"),
    ("network", "ip -j link show", "{}"),
    ("gpu", "lsblk -J", "[]"),
]
ALWAYS = ("", "null", "7", WRONG["HTML"], WRONG["a cut end"], "[null]", "[[]]")


def told(lab: Lab, stage: str, command: str, text: str, **reply: Any) -> None:
    lab.host.reply(command, out=text, **reply)
    with pytest.raises(StageFailed) as caught:
        lab.bring(stage)
    assert isinstance(caught.value.__cause__, BadJson)
    assert caught.value.hint
    assert caught.value.clause


@pytest.mark.parametrize("answer", [*ALWAYS, None])
@pytest.mark.parametrize(("stage", "command", "wrong"), READ)
def test_a_stage_that_reads_tells_of_it(
    make_lab: MakeLab,
    stage: str,
    command: str,
    wrong: str,
    answer: str | None,
) -> None:
    lab = make_lab(ready=True, provision="always" if stage == "gpu" else "never")
    told(lab, stage, command, wrong if answer is None else answer)


@pytest.mark.parametrize("answer", [*ALWAYS, None])
@pytest.mark.parametrize(("stage", "command", "wrong"), MADE)
def test_a_stage_that_provides_tells_of_it(
    lab: Lab,
    stage: str,
    command: str,
    wrong: str,
    answer: str | None,
) -> None:
    told(lab, stage, command, wrong if answer is None else answer)
