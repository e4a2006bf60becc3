"""What llama.cpp's server answers, in its form, for the stand-in for vLLM to be tested in front of.

A token is a word here, and the answer to everything is "one two". What it was asked is kept.
"""

import http.client
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import TCPServer
from typing import Any, cast

from vlab.standins.model.vllm.standin.arguments import parse
from vlab.standins.model.vllm.standin.engine import Engine
from vlab.standins.model.vllm.standin.server import Server
from vlab.standins.model.vllm.standin.web import Handler

SERVED = "Qwen1.5-1.8B-Chat"
TEMPLATE_WORDS = 30  # about what SmolLM2's template puts around a question
USAGE = {"completion_tokens": 2, "prompt_tokens": 31, "total_tokens": 33}
LOGPROBS = {
    "content": [
        {
            **{"id": 7, "token": "one", "bytes": [111], "logprob": -0.5},
            "top_logprobs": [{"id": 7, "token": "one", "bytes": [111], "logprob": -0.5}],
        }
    ]
}
FIGURES = (
    "# HELP llamacpp:prompt_tokens_total x\nllamacpp:prompt_tokens_total 7\n"
    "llamacpp:prompt_tokens_cached_total 5\n"
)


class Llama(ThreadingHTTPServer):
    """The engine's server; ``well``: /health says so; ``fault``: the answer to a completion."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self) -> None:
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.well = True
        self.fault: tuple[int, dict[str, Any]] | None = None
        self.breaks_off = False
        super().__init__(("127.0.0.1", 0), Speaker)

    def server_bind(self) -> None:
        TCPServer.server_bind(self)  # without HTTPServer's look for the address's name


class Speaker(BaseHTTPRequestHandler):
    """One connection to it."""

    server: Llama

    def do_GET(self) -> None:
        body = b'{"status":"ok"}' if self.path == "/health" else FIGURES.encode()
        self._send(200 if self.server.well else 503, body)

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked.append((self.path, asked))
        if self.path == "/tokenize":
            self._json({"tokens": list(range(len(asked["content"].split())))})
        elif self.path == "/detokenize":
            self._json({"content": "text"})
        elif self.path == "/apply-template":
            text = " ".join(str(one["content"]) for one in asked["messages"])
            self._json({"prompt": "x " * TEMPLATE_WORDS + text})
        elif self.server.fault:
            status, body = self.server.fault
            self._send(status, json.dumps(body).encode())
        elif asked.get("stream"):
            self._stream("messages" in asked)
        else:
            self._whole("messages" in asked, asked)

    def _whole(self, chat: bool, asked: dict[str, Any]) -> None:
        said = {"message": {"role": "assistant", "content": "one two"}} if chat else {"text": "one"}
        choice = {"finish_reason": "length", "index": 0, **said}
        if asked.get("logprobs"):
            choice["logprobs"] = LOGPROBS
        usage = {**USAGE, "prompt_tokens_details": {"cached_tokens": 0}}
        self._json({"choices": [choice], **self._head(chat, ""), "usage": usage, "timings": {}})

    def _head(self, chat: bool, piece: str) -> dict[str, Any]:
        name = f"chat.completion{piece}" if chat else "text_completion"
        return {"created": 1, "model": "m", "system_fingerprint": "b0-unknown", "object": name}

    def _stream(self, chat: bool) -> None:
        said: list[tuple[dict[str, Any], str | None]]
        if chat:
            texts: list[dict[str, Any]] = [{"role": "assistant", "content": None}]
            said = [({"delta": d}, None) for d in [*texts, {"content": "one"}, {"content": " two"}]]
            said.append(({"delta": {}}, "length"))
        else:
            said = [({"text": "one"}, None), ({"text": ""}, "length")]
        head = self._head(chat, ".chunk")
        chunks: list[dict[str, Any]] = [
            {"choices": [{"finish_reason": end, "index": 0, **one}], **head} for one, end in said
        ]
        chunks.append({"choices": [], **head, "usage": USAGE, "timings": {}})
        lines = [f"data: {json.dumps(chunk)}\n\n" for chunk in chunks]
        lines = lines[:2] if self.server.breaks_off else [*lines, "data: [DONE]\n\n"]
        self._send(200, "".join(lines).encode())

    def _json(self, value: object) -> None:
        self._send(200, json.dumps(value).encode())

    def _send(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:
        pass


class Connection(http.client.HTTPConnection):
    """As the engine's: a ``with`` closes it."""

    def __enter__(self) -> "Connection":
        return self

    def __exit__(self, *failure: object) -> None:
        self.close()


class FakeEngine:
    """The way to it, in the form of the real way; ``lives`` is for a test to change."""

    def __init__(self, port: int, context: int = 8192) -> None:
        self.port = port
        self.context = context
        self.lives = True

    def connect(self, patience: float) -> Connection:
        connection = Connection("127.0.0.1", self.port, timeout=patience)
        connection.connect()
        return connection

    def alive(self) -> bool:
        return self.lives


@contextmanager
def llama() -> Iterator[Llama]:
    """A running one."""
    with Llama() as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server
        server.shutdown()


@contextmanager
def serving(engine: FakeEngine, *flags: str) -> Iterator[str]:
    """The stand-in before an engine; its address."""
    name = ("--served-model-name", SERVED, "--host", "127.0.0.1", "--port", "0")
    with Server(parse([*name, *flags]), Handler) as server:
        server.engine = cast(Engine, engine)
        server.server_activate()
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
