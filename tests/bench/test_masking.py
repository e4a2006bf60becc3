"""Masking of 100 kB of anything: what a host prints cannot hold up who reads it.

Timed, and so for a quiet machine: no part of what a change has to pass.
"""

from __future__ import annotations

import base64
import time
from collections.abc import Callable
from itertools import cycle, islice

import pytest

from harness.record.masking import Masker

Benchmark = Callable[..., object]
SIZE = 100_000  # characters
SECONDS = 0.05  # of a processor
LINES = [base64.b64encode(bytes(islice(cycle(range(n, 256)), 48))).decode() for n in range(26)]
PEM = "\n".join(["-----BEGIN PRIVATE KEY-----", *LINES, "-----END PRIVATE KEY-----", ""])
SECRETS = {"none": [], "one": ["s3cr3t-value"], "a key in PEM": [PEM], "one letter": ["a" * 16]}
# Each is repeated; what these patterns look for begins anew again and again, and is never there.
TEXTS = {
    "words": "the model server says nothing of it\n",
    "a scheme": "a.",
    "an address": "a://a:a",
    "progress": ".",
    "cuts": "…aaaa...",
    "a header": "Authorization ",
    "another header": "Authorization: Basic ",
    "a bearer": "Bearer aaaaaaaa",
    "a token": "eyJ",
    "a token's name": "token=",
    "a token and its name": "token=a.",
    "an option": "--a-token ",
    "an option's name": "--a-",
    "a key in base64": "LS0tLS1CRUdJTi",
    "a key": "PRIVATE KEY-----",
    "part of a key": f"{PEM[28:48]}...",
    "dashes": "-",
    "letters": "a",
    "Chinese": "模型服务",
    "escapes": "\x1b[",
    "strings": "\x1b]0;",
}


@pytest.mark.parametrize("secrets", SECRETS)
@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.finding("F2", "a host's output freezes the runner as it is masked")
def test_masking_is_done_in_time(benchmark: Benchmark, secrets: str, text: str) -> None:
    masker = Masker(SECRETS[secrets])
    said = (TEXTS[text] * SIZE)[:SIZE]
    started = time.process_time()
    masker.value(said)
    assert time.process_time() - started < SECONDS
    benchmark(lambda: masker.value(said))
