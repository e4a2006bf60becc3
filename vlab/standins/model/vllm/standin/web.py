"""vLLM's HTTP interface, in front of llama.cpp's own.

Real: the completions, streamed or whole, the tokens and the figures, which are the engine's. Added
here: vLLM's paths, checks and forms, and the stand-in's marks. Plain sockets and no framework.
"""

import http.client
import json
from collections.abc import Callable, Iterator
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from typing import Any

from .. import __version__
from . import log, metrics
from .answers import EngineFailed, pieces, whole
from .engine import MODEL
from .requests import Refused, Request, check, read, require_model, too_long
from .server import EngineDead, Server

MARK = f"vLLM stand-in; {MODEL} on the stand-in GPU"
ENGINE_PATIENCE = 3600
"""Seconds without a byte from the engine; a long prompt takes a while, and others may be first."""

HEALTH_PATIENCE = 60
"""The same for the question whether it is well, which a thread of its own answers."""

TEMPLATE = 128
"""Tokens, at most, that the model's template puts around a short conversation."""

# Paths that vLLM has, and the stand-in has not: it says so, where vLLM would answer.
ABSENT = {
    *("/openapi.json", "/docs", "/docs/oauth2-redirect", "/redoc", "/invocations"),
    *("/v1/chat/completions/batch", "/v1/responses", "/v1/messages", "/v1/messages/count_tokens"),
    *("/generative_scoring", "/inference/v1/generate", "/scale_elastic_ep"),
    *("/is_scaling_elastic_ep", "/v1/chat/completions/render", "/v1/completions/render"),
    *("/v1/chat/completions/derender", "/v1/completions/derender"),
}


class Unauthorized(Exception):
    """A request without the key that the command line asks for."""


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    server: Server
    protocol_version = "HTTP/1.1"
    timeout = 600

    def do_GET(self) -> None:
        try:
            # Read before anything else: what is left of a body would be the next request.
            self.body = self._body()
            self._require_key()
            self._page()()
        except Unauthorized:
            self._json(401, {"error": "Unauthorized"})
        except Refused as refused:
            self._json(refused.status, refused.body())
        except EngineDead as error:
            self._dead(error)
        except ConnectionError:
            self.close_connection = True  # the client has gone

    do_POST = do_PUT = do_DELETE = do_PATCH = do_HEAD = do_OPTIONS = do_GET

    def _body(self) -> bytes:
        length = self.headers.get("Content-Length") or "0"
        if self.headers.get("Transfer-Encoding") or not length.isdecimal():
            self.close_connection = True  # nobody knows where it ends
            raise Refused(501, "NotImplementedError", "The stand-in for vLLM needs Content-Length.")
        return self.rfile.read(int(length))

    def _page(self) -> Callable[[], None]:
        path = self.path.partition("?")[0]
        pages = {method: name for method, its, name in self.server.routes if its == path}
        if self.command in pages:
            found: Callable[[], None] = getattr(self, pages[self.command])
            return found
        if path in ABSENT:
            words = f"The stand-in for vLLM has not got {path}."
            raise Refused(501, "NotImplementedError", words)
        if pages:
            return lambda: self._json(405, {"detail": "Method Not Allowed"}, allow=", ".join(pages))
        return lambda: self._json(404, {"detail": "Not Found"})

    def _require_key(self) -> None:
        keys = self.server.arguments.api_keys
        kind, _, key = (self.headers.get("Authorization") or "").partition(" ")
        if keys and self.path.startswith("/v1") and (kind.lower() != "bearer" or key not in keys):
            raise Unauthorized

    def load(self) -> None:
        self._json(200, {"server_load": 0})  # vLLM counts only where a flag says so

    def version(self) -> None:
        self._json(200, {"version": __version__})

    def health(self) -> None:
        why = self._ill()
        if why:
            log.own(f"the engine is not well: {why}")
        self._send(503 if why else 200, b"")

    def _ill(self) -> str:
        """Why the engine is not well, asked of itself: nobody else can know."""
        try:
            status, said = self._ask("GET", "/health", patience=HEALTH_PATIENCE)
        except EngineDead as error:
            return str(error)
        return "" if status == 200 else said.decode(errors="replace")

    def models(self) -> None:
        listed = [self.server.card(name) for name in self.server.arguments.served_names]
        self._json(200, {"object": "list", "data": listed})

    def figures(self) -> None:
        _, said = self._ask("GET", "/metrics")
        text = metrics.renamed(said.decode(), self.server.arguments.served_names[0])
        self._send(200, text.encode(), "text/plain; version=0.0.4; charset=utf-8")

    def tokenize(self) -> None:
        asked = self._read("tokenize")
        tokens = self._tokens(asked)
        answer = {"count": len(tokens), "max_model_len": self.server.engine.context}
        self._json(200, {**answer, "tokens": tokens, "token_strs": None})

    def detokenize(self) -> None:
        tokens = self._read("detokenize").get("tokens")
        self._json(200, {"prompt": self._engines("/detokenize", {"tokens": tokens})["content"]})

    def _read(self, function: str) -> dict[str, Any]:
        content_type = self.headers.get("Content-Type") or ""
        asked = read(self.body, content_type, self.path, function)
        require_model(asked.get("model"), self.server.arguments.served_names)
        return asked

    def _tokens(self, job: dict[str, Any]) -> list[int]:
        """The tokens of a prompt, or of a conversation in the model's template."""
        prompt = job.get("prompt")
        if isinstance(prompt, list):
            return prompt
        if prompt is None:
            asked = {"messages": job.get("messages")}
            prompt = self._engines("/apply-template", asked)["prompt"]
        found: list[int] = self._engines("/tokenize", {"content": prompt})["tokens"]
        return found

    def complete(self) -> None:
        path = self.path.partition("?")[0]
        content_type = self.headers.get("Content-Type") or ""
        served, context = self.server.arguments.served_names, self.server.engine.context
        request = check(self.body, content_type, path, served, context)
        self._require_room(request, context)
        if request.stream:
            self._stream(request, served[0])
        else:
            answers = [self._engines(path, job, request) for job in request.jobs]
            self._json(200, whole(request, answers, served[0]))

    def _require_room(self, request: Request, context: int) -> None:
        # A token is a byte at least: what is shorter than the room needs no counting.
        room = context - (request.limit or 0)
        for job in request.jobs:
            if len(json.dumps(job)) + TEMPLATE > room and len(self._tokens(job)) > room:
                raise too_long(context, request.limit)

    def _stream(self, request: Request, model: str) -> None:
        # Closing the engine's connection, when the client's breaks, ends the computing too.
        (job,) = request.jobs
        connection = self._connect(ENGINE_PATIENCE)
        with connection:
            response = self._response(connection, "POST", request.path, job)
            if response.status >= 400:
                raise self._refused(response.status, response.read(), request)
            self._head(200, "text/event-stream; charset=utf-8", ("Transfer-Encoding", "chunked"))
            try:
                for piece in pieces(request, _lines(response), model):
                    self._event(piece)
            except EngineFailed as error:
                log.own(f"the engine ended an answer: {error}")
                self._event(EngineDead.refused().body())
            self._chunk(b"data: [DONE]\n\n")
            self._chunk(b"")

    def _event(self, value: object) -> None:
        self._chunk(b"data: %b\n\n" % _dumps(value))

    def _chunk(self, data: bytes) -> None:
        self.wfile.write(b"%x\r\n%b\r\n" % (len(data), data))

    def _engines(self, path: str, body: object, request: Request | None = None) -> dict[str, Any]:
        """The engine's JSON answer. Raises Refused, in vLLM's words where they are known."""
        status, said = self._ask("POST", path, body)
        if status >= 400:
            raise self._refused(status, said, request)
        found: dict[str, Any] = json.loads(said)
        return found

    def _refused(self, status: int, said: bytes, request: Request | None) -> Refused:
        try:
            error = json.loads(said)["error"]
            kind, message = error.get("type"), str(error["message"])
        except (ValueError, KeyError, TypeError, AttributeError):
            kind, message = None, said.decode(errors="replace")
        if kind == "exceed_context_size_error" and request:
            return too_long(self.server.engine.context, request.limit)
        name = "BadRequestError" if status < 500 else "InternalServerError"
        return Refused(status, name, message)

    def _ask(
        self, method: str, path: str, body: object = None, *, patience: float = ENGINE_PATIENCE
    ) -> tuple[int, bytes]:
        with self._connect(patience) as connection:
            response = self._response(connection, method, path, body)
            try:
                return response.status, response.read()
            except (OSError, http.client.HTTPException) as error:
                raise EngineDead(f"{type(error).__name__}: {error}") from error

    def _connect(self, patience: float) -> Any:
        if not self.server.engine.alive():
            raise EngineDead("the stand-in GPU no longer computes")
        try:
            return self.server.engine.connect(patience)
        except (OSError, http.client.HTTPException) as error:
            raise EngineDead(f"{type(error).__name__}: {error}") from error

    def _response(
        self, connection: http.client.HTTPConnection, method: str, path: str, body: object
    ) -> http.client.HTTPResponse:
        data = None if body is None else _dumps(body)
        try:
            connection.request(method, path, data, {"Content-Type": "application/json"})
            return connection.getresponse()
        except (OSError, http.client.HTTPException) as error:
            raise EngineDead(f"{type(error).__name__}: {error}") from error

    def _dead(self, error: EngineDead) -> None:
        log.own(f"the engine does not answer: {error}")
        self.server.mourn()
        refused = error.refused()
        self._json(refused.status, refused.body())

    def _json(self, status: int, value: object, *, allow: str | None = None) -> None:
        extra = [] if allow is None else [("Allow", allow)]
        self._send(status, _dumps(value), "application/json", *extra)

    def _send(
        self, status: int, body: bytes, kind: str | None = None, *extra: tuple[str, str]
    ) -> None:
        self._head(status, kind, ("Content-Length", str(len(body))), *extra)
        if self.command != "HEAD":
            self.wfile.write(body)

    def _head(self, status: int, kind: str | None, *headers: tuple[str, str]) -> None:
        self.send_response(status)
        self.send_header("X-Stand-In", MARK)
        if kind:
            self.send_header("Content-Type", kind)
        for name, value in headers:
            self.send_header(name, value)
        self.end_headers()

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        if self.server.arguments.access_log:
            line = "".join(c if c.isprintable() else "?" for c in self.requestline)
            phrase = HTTPStatus(int(code)).phrase
            log.uvicorn(
                f'{self.address_string()}:{self.client_address[1]} - "{line}" {code} {phrase}'
            )

    def log_error(self, format: str, *arguments: object) -> None:
        log.own(f"{self.address_string()}: {format % arguments}")


def _lines(response: http.client.HTTPResponse) -> Iterator[bytes]:
    """Lines from the engine, whose failures are not to be taken for the client's."""
    try:
        yield from response
    except (OSError, http.client.HTTPException) as error:
        raise EngineFailed(f"{type(error).__name__}: {error}") from error


def _dumps(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode(errors="replace")
