"""Load: what many requests at once come to, each counted, and the figures of those that did."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from fixtures.model import load
from fixtures.model.load import Level
from fixtures.profile import ModelConfig
from harness.host import tunnel
from tests.unit import vllm
from tests.unit.llama import SERVED, FakeEngine, llama, serving
from tests.unit.patience import PATIENCE

HTTP = {exchange.name: exchange for exchange in vllm.exchanges()}
STREAM, DEAD = HTTP["stream"], HTTP["engine-killed-0"]
WHOLE = f"{STREAM.answer}\n\n".encode()
TOKENS = 6  # of that answer, which was cut off there


def wanted(*levels: int) -> ModelConfig:
    """What to ask at these levels."""
    return ModelConfig(name=SERVED, command=("serve",), load=levels, load_tokens=TOKENS)


def measured(url: str, *levels: int, budget: float = PATIENCE) -> tuple[Level, ...]:
    return load.measure(url, wanted(*levels), budget)


class Speaker(BaseHTTPRequestHandler):
    """Each request gets the next answer: status, kind, body, bytes that never come."""

    server: Told

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        with self.server.lock:
            answer = self.server.answers.pop()
        if answer is None:
            self.server.over.wait()
            return
        status, kind, body, missing = answer
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body) + missing))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:
        pass


Reply = tuple[int, str, bytes, int]
GOOD: Reply = (STREAM.status, STREAM.kind, WHOLE, 0)
BROKEN: Reply = (STREAM.status, STREAM.kind, WHOLE[: len(WHOLE) // 2], 100)
ENDLESS: Reply = (STREAM.status, STREAM.kind, WHOLE.partition(b'"finish_reason":"length"')[0], 0)


class Told(ThreadingHTTPServer):
    """A server with an answer for each request; None: it says nothing."""

    daemon_threads = True

    def __init__(self, answers: list[Reply | None]) -> None:
        super().__init__(("127.0.0.1", 0), Speaker)
        self.answers = answers
        self.lock, self.over = threading.Lock(), threading.Event()


@contextmanager
def telling(*answers: Reply | None) -> Iterator[str]:
    """Its address."""
    with Told([*answers]) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.over.set()
        server.shutdown()


def test_the_stand_in_answers_64_at_once_through_a_tunnel() -> None:
    """By the relay that a host runs; each answer is `one two`."""
    with llama() as engine, serving(FakeEngine(engine.server_address[1])) as url:
        argv = tunnel.relay_argv("127.0.0.1", int(url.rpartition(":")[2]))
        with tunnel.opened([sys.executable, *argv[1:]]) as (address, port):
            one, many = measured(f"http://{address}:{port}", 1, 64)
        asked = [body for path, body in engine.asked if path == "/v1/chat/completions"]
    assert [(n.concurrent, n.failed, n.error, n.tokens) for n in (one, many)] == [
        (1, 0, "", 2),
        (64, 0, "", 128),
    ]
    assert one.first_p50 == one.first_p95 == one.first_max
    assert many.first_p50 <= many.first_p95 <= many.first_max <= many.seconds  # type: ignore[operator]
    assert {body["max_tokens"] for body in asked} == {TOKENS}
    assert len(asked) == 65


def test_a_real_stream_is_counted() -> None:
    with telling(GOOD, GOOD) as url:
        [found] = measured(url, 2)
    assert (found.failed, found.tokens) == (0, 2 * TOKENS)
    assert found.tokens_per_second == pytest.approx(2 * TOKENS / found.seconds, rel=0.1)


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        ((DEAD.status, DEAD.kind, DEAD.answer.encode(), 0), "with 500: EngineCore encountered"),
        (BROKEN, "lost its connection after"),
        (ENDLESS, "finish_reason is ''"),
        ((200, "text/html", b"<html>", 0), "no end after 0 chunks"),
        ((200, STREAM.kind, WHOLE.replace(b'"content":"', b'"content":"","x":"'), 0), "no words"),
    ],
)
def test_one_that_fails_is_counted_and_told(answer: Reply, says: str) -> None:
    with telling(GOOD, answer, GOOD) as url:
        [found] = measured(url, 3)
    assert (found.concurrent, found.failed, found.tokens) == (3, 1, 2 * TOKENS)
    assert says in found.error


def test_one_that_is_never_answered_has_an_end() -> None:
    """And no level after it has time left."""
    with telling(GOOD, None, GOOD) as url:
        first, then = measured(url, 2, 1, budget=1)
    assert first.failed >= 1
    assert "no whole answer after 1 s, but 0 chunks" in first.error
    assert (then.failed, then.tokens_per_second, then.first_p50) == (1, None, None)


def test_a_server_of_nobody_fails_them_all() -> None:
    [found] = measured("http://127.0.0.1:9", 4)
    assert found.failed == found.concurrent == 4
    assert "lost its connection after 0 chunks" in found.error
    assert list(load.rows([found])) == []


@pytest.mark.parametrize(("percent", "value"), [(50, 32), (95, 61), (100, 64), (1, 1)])
def test_a_percentile_is_a_value_that_was_measured(percent: int, value: int) -> None:
    assert load.percentile([float(n) for n in range(64, 0, -1)], percent) == value


def test_nothing_is_asked_where_no_level_is() -> None:
    assert measured("http://127.0.0.1:9") == ()


def test_each_level_has_its_rows() -> None:
    answer = Level(8, 0, "", 2.0, 512, 256.0, 0.1, 0.2, 0.3, 0.01, 0.02)
    rows = list(load.rows([answer]))
    assert [(row.id, row.value, row.unit) for row in rows] == [
        ("load-8-rate", 256.0, "tokens/s"),
        ("load-8-first-p50", 0.1, "s"),
        ("load-8-first-p95", 0.2, "s"),
        ("load-8-token-p50", 0.01, "s"),
    ]
    assert all(row.expected is None for row in rows)
