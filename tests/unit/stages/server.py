"""The model server's HTTP part: what the recorded one answered."""

from __future__ import annotations

import contextlib
import itertools
import json
import threading
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import TCPServer
from typing import Any

from tests.unit.replay import ReplayHost
from tests.unit.stages.lab import RECORD, record

JSON = "application/json"


class Server(ThreadingHTTPServer):
    """Answers by path; /health is 503 for the first `unready` times."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Speaker)
        self.answers: dict[str, tuple[int, str, bytes]] = {}
        self.turns: dict[str, Sequence[int]] = {}  # which requests to a path are answered so
        self.asked: dict[str, Iterator[int]] = {}
        self.unready = 0
        self.reset()

    def server_bind(self) -> None:
        TCPServer.server_bind(self)  # without HTTPServer's look for the address's name

    def reset(self) -> None:
        """As the recorded server, once it is up; its answers are in what curl printed."""
        self.answers = {
            "/health": (200, "", b""),
            "/version": (200, JSON, record().facts["model"]["version"].encode()),
            "/v1/models": (200, JSON, _models()),
        }
        self.unready = 0
        self.turns, self.asked = {}, defaultdict(lambda: itertools.count(1))

    def given(self, path: str) -> tuple[int, str, bytes] | None:
        """The answer that stands for a request to that path."""
        turn, turns = next(self.asked[path]), self.turns.get(path)
        return self.answers.get(path) if not turns or turn in turns else None

    def lead_to(self, host: ReplayHost) -> None:
        """Be what the host's forwards lead to."""

        @contextmanager
        def forward(address: str, port: int) -> Iterator[tuple[str, int]]:
            yield "127.0.0.1", int(self.server_address[1])

        host.forward = forward  # type: ignore[method-assign]


class Speaker(BaseHTTPRequestHandler):
    """One connection to it."""

    server: Server

    def do_GET(self) -> None:
        status, kind, body = self.server.given(self.path) or (404, JSON, b"{}")
        if self.path == "/health" and self.server.unready:
            self.server.unready -= 1
            status = 503
        self._send(status, kind, body)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self._send(*self.server.given(self.path) or _completion(body))

    def _send(self, status: int, kind: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


@contextmanager
def served() -> Iterator[Server]:
    """Have it listen."""
    with Server() as server, contextlib.ExitStack() as stack:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        stack.callback(thread.join)
        stack.callback(server.shutdown)
        yield server


def _completion(body: bytes) -> tuple[int, str, bytes]:
    """The recorded answer, streamed; or a refusal of what the recorded server has refused."""
    try:
        asked = json.loads(body)
        wanted = record().profile["model"]
        if asked["model"] != wanted["name"] or asked["max_tokens"] > 1000 or not asked["messages"]:
            raise ValueError
    except ValueError:
        return 400, JSON, b"{}"
    text = _fact("answer")["text"]
    ended = [*({"delta": {"content": c}} for c in text), {"delta": {}, "finish_reason": "length"}]
    chunks = [{"choices": [choice]} for choice in ended]
    usage = {"completion_tokens": len(text), "prompt_tokens": 1, "total_tokens": len(text) + 1}
    lines = [json.dumps(chunk) for chunk in (*chunks, {"choices": [], "usage": usage})]
    stream = "".join(f"data: {line}\n\n" for line in (*lines, "[DONE]"))
    return 200, "text/event-stream", stream.encode()


def _fact(name: str) -> Mapping[str, Any]:
    """A fact of the record that is no stage's."""
    events = map(json.loads, RECORD.read_text("utf-8").splitlines())
    found: list[Mapping[str, Any]]
    found = [e["value"] for e in events if e["kind"] == "fact" and e["name"] == name]
    return found[-1]


def _models() -> bytes:
    replies = (
        replies[-1].out
        for (_, words), replies in record().replies.items()
        if words[-1].endswith("/v1/models")
    )
    return next(replies).encode()
