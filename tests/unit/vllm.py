"""What a real vLLM answered and logged (tests/data/vllm), part by part."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from tests.unit.mini import ROOT

HTTP = ROOT / "tests" / "data" / "vllm" / "http.txt"
LOGS = ROOT / "tests" / "data" / "vllm" / "logs.txt"
REPORTED = ROOT / "tests" / "data" / "vllm" / "reported.txt"  # by others, not recorded


class Exchange(NamedTuple):
    """One that was recorded."""

    name: str
    method: str
    path: str
    asked: str
    status: int
    kind: str
    answer: str


def exchanges() -> Iterator[Exchange]:
    """Each request with its answer."""
    text = HTTP.read_text(encoding="utf-8")
    for part in re.split(r"^== ", text, flags=re.M)[1:]:
        head, answer = re.split(r"^-> ", part, maxsplit=1, flags=re.M)
        name, first, asked = head.split("\n", 2)
        status_line, _, body = answer.partition("\n")
        found = re.fullmatch(r"(\S+) (.*?) ?[\d.]+ s", status_line)
        assert found, status_line
        status = 0 if found[1] == "None" else int(found[1])
        method, path = first.split()
        # The recorder called a request without a body GET.
        method = "POST" if name == "empty-body" else method
        asked, body = asked.removesuffix("\n"), body.strip("\n")
        yield Exchange(name, method, path, asked, status, found[2], body)


def log(name: str, path: Path = LOGS) -> str:
    """A log, as it was."""
    text = path.read_text(encoding="utf-8")
    (part,) = re.findall(rf"^== {name}(?: \([^\n]*)?\n(.*?)(?:\n\n|\Z)", text, re.M | re.S)
    return str(part)
