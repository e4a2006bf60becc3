"""vLLM's HTTP interface, in front of llama.cpp's own.

Real: the completions, streamed or whole, and the metrics, which are the engine's. Added here: what
vLLM does and llama.cpp does not (the check of the model's name, ``/version``, error shapes) and the
stand-in's marks. Plain sockets and no framework: an import costs seconds on an emulated processor.
"""

import http.client
import json
import re
import time
from collections.abc import Callable
from functools import partial
from http.server import BaseHTTPRequestHandler
from socketserver import TCPServer, ThreadingMixIn
from typing import Any

from .. import __version__
from . import StandInError
from .arguments import Arguments
from .engine import MODEL, Engine
from .requests import Refused, check

MARK = f"vLLM stand-in; {MODEL} on the processor"
FINGERPRINT = re.compile(rb'"system_fingerprint":"[^"]*"')
MARKED = f'"system_fingerprint":"stand-in:{MODEL}"'.encode()
# vLLM's name for a figure: its kind, and the engine's name for the same figure.
METRICS = {
    "vllm:prompt_tokens_total": ("counter", "llamacpp:prompt_tokens_total"),
    "vllm:generation_tokens_total": ("counter", "llamacpp:tokens_predicted_total"),
    "vllm:num_requests_running": ("gauge", "llamacpp:requests_processing"),
    "vllm:num_requests_waiting": ("gauge", "llamacpp:requests_deferred"),
}
ENGINE_PATIENCE = 3600
"""Seconds without a byte from the engine; a long prompt takes minutes where all is emulated."""

HEALTH_PATIENCE = 60
"""The same for the question whether it is well, which a thread of its own answers."""


class Server(ThreadingMixIn, TCPServer):
    """One thread a request; listens from construction on."""

    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 32

    def __init__(self, arguments: Arguments, engine: Engine) -> None:
        self.arguments = arguments
        self.engine = engine
        self.started = int(time.time())
        super().__init__((arguments.host, arguments.port), Handler)


def serve(arguments: Arguments, engine: Engine, say: Callable[[str], None]) -> None:
    """Serve for ever. Raises StandInError if the port cannot be had."""
    try:
        server = Server(arguments, engine)
    except OSError as error:
        raise StandInError(f"OSError: {arguments.host}:{arguments.port}: {error}") from error
    say(f"Listening on http://{arguments.host}:{server.server_address[1]}")
    say("Application startup complete.")
    server.serve_forever()


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    server: Server
    protocol_version = "HTTP/1.1"
    timeout = 600

    def do_GET(self) -> None:
        pages: dict[str, Callable[[], None]] = {
            "/health": self._health,
            "/ping": self._health,
            "/version": lambda: self._json(200, self._version()),
            "/v1/models": self._models,
            "/metrics": lambda: self._send(200, self._metrics(), "text/plain; version=0.0.4"),
        }
        self._route(pages)

    def do_POST(self) -> None:
        # Read before anything else: what is left of a body would be taken for the next request.
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        paths = ("/v1/chat/completions", "/v1/completions")
        self._route({path: partial(self._complete, path, body) for path in paths})

    def _route(self, pages: dict[str, Callable[[], None]]) -> None:
        page = pages.get(self.path.partition("?")[0])
        if page is None:
            self._json(404, {"detail": "Not Found"})
        elif not self._authorized():
            self._json(401, {"error": "Unauthorized"})
        else:
            try:
                page()
            except Refused as refused:
                self._json(refused.status, refused.body())
            except ConnectionError:
                self.close_connection = True  # the client, or the engine, has gone

    def _authorized(self) -> bool:
        key = self.server.arguments.api_key
        if key is None or not self.path.startswith("/v1"):
            return True
        given = self.headers.get("Authorization") or ""
        return given == f"Bearer {key}"

    def _version(self) -> dict[str, Any]:
        return {"version": __version__, "stand_in": True, "model": MODEL, "device": "cpu"}

    def _health(self) -> None:
        self._require_engine()
        self._send(200, b"")

    def _require_engine(self) -> None:
        """Raise Refused unless the engine says that it is well: nobody else can know."""
        try:
            connection, response = self._ask("GET", "/health", patience=HEALTH_PATIENCE)
            with connection, response:
                answer = response.read().decode(errors="replace")
        except (OSError, http.client.HTTPException) as error:
            raise Refused(503, "EngineDeadError", f"the engine does not answer: {error}") from error
        if response.status != 200:
            raise Refused(503, "EngineDeadError", f"the engine is not well: {answer}")

    def _models(self) -> None:
        self._require_engine()
        entry = {
            "object": "model",
            "created": self.server.started,
            "owned_by": "vllm-stand-in",
            "root": MODEL,
            "parent": None,
            "max_model_len": self.server.engine.context,
        }
        names = self.server.arguments.served_names
        listed = {"object": "list", "data": [{"id": name, **entry} for name in names]}
        self._json(200, listed)

    def _metrics(self) -> bytes:
        connection, response = self._ask("GET", "/metrics")
        with connection, response:
            text = response.read().decode()
        values = dict(line.split(" ", 1) for line in text.splitlines() if line[:1] not in ("", "#"))
        label = f'{{model_name="{self.server.arguments.served_names[0]}"}}'
        renamed = [
            f"# TYPE {ours} {kind}\n{ours}{label} {values[its]}"
            for ours, (kind, its) in METRICS.items()
            if its in values
        ]
        return "\n".join([text.rstrip(), *renamed, ""]).encode()

    def _complete(self, path: str, body: bytes) -> None:
        served = self.server.arguments.served_names
        context = self.server.engine.context
        request = check(body, served, context, chat=path == "/v1/chat/completions")
        connection, response = self._ask("POST", path, json.dumps(request).encode())
        with connection, response:
            if response.status >= 400:
                raise _engine_refused(response)
            if request.get("stream"):
                self._stream(response)
            else:
                answer = FINGERPRINT.sub(MARKED, response.read(), count=1)
                self._send(200, answer, "application/json")

    def _stream(self, response: http.client.HTTPResponse) -> None:
        # Closing the engine's connection, when the client's breaks, ends the computing too.
        self._head(200, "text/event-stream; charset=utf-8", ("Transfer-Encoding", "chunked"))
        for line in response:
            marked = FINGERPRINT.sub(MARKED, line, count=1)
            self.wfile.write(b"%x\r\n%b\r\n" % (len(marked), marked))
        self.wfile.write(b"0\r\n\r\n")

    def _ask(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        *,
        patience: float = ENGINE_PATIENCE,
    ) -> tuple["Connection", http.client.HTTPResponse]:
        connection = self.server.engine.connect(patience)
        connection.request(method, path, body, {"Content-Type": "application/json"})
        return connection, connection.getresponse()

    def _json(self, status: int, value: object) -> None:
        self._send(status, json.dumps(value, ensure_ascii=False).encode(), "application/json")

    def _send(self, status: int, body: bytes, kind: str | None = None) -> None:
        self._head(status, kind, ("Content-Length", str(len(body))))
        self.wfile.write(body)

    def _head(self, status: int, kind: str | None, length: tuple[str, str]) -> None:
        self.send_response(status)
        self.send_header("X-Stand-In", MARK)
        if kind:
            self.send_header("Content-Type", kind)
        self.send_header(*length)
        self.end_headers()


class Connection(http.client.HTTPConnection):
    """A connection to the engine that a ``with`` closes."""

    def __enter__(self) -> "Connection":
        return self

    def __exit__(self, *failure: object) -> None:
        self.close()


def _engine_refused(response: http.client.HTTPResponse) -> Refused:
    """llama.cpp's error, in vLLM's shape."""
    text = response.read().decode(errors="replace")
    try:
        message = str(json.loads(text)["error"]["message"])
    except (ValueError, KeyError, TypeError):
        message = text
    kind = "BadRequestError" if response.status < 500 else "InternalServerError"
    return Refused(response.status, kind, message)
