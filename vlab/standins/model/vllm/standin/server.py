"""The API server's life: its port, its start, and its end when the engine behind it has died."""

import os
import time
from http.server import BaseHTTPRequestHandler
from socket import AF_INET, AF_INET6
from socketserver import TCPServer, ThreadingMixIn
from typing import Any

from . import StandInError, log
from .arguments import Arguments
from .engine import MODEL, Engine
from .requests import CHAT, Refused

# Method, path, and who answers it, in the order of vLLM's log.
ROUTES = (
    ("GET", "/load", "load"),
    ("GET", "/version", "version"),
    ("GET", "/health", "health"),
    ("GET", "/metrics", "figures"),
    ("POST", "/tokenize", "tokenize"),
    ("POST", "/detokenize", "detokenize"),
    ("GET", "/v1/models", "models"),
    ("GET", "/ping", "health"),
    ("POST", "/ping", "health"),
    ("POST", CHAT, "complete"),
    ("POST", "/v1/completions", "complete"),
)
DEAD = "EngineCore encountered an issue. See stack trace (above) for the root cause."


class EngineDead(Exception):
    """The engine does not answer any more; the message is what of it was seen here."""

    @staticmethod
    def refused() -> Refused:
        """What vLLM answers then."""
        return Refused(500, "InternalServerError", DEAD)


class EngineGone(Exception):
    """Time to end: the engine has been dead for long enough."""


class Server(ThreadingMixIn, TCPServer):
    """One thread a request. The port is taken at once, and refuses until ``serve``, as vLLM's."""

    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 128
    engine: Engine
    routes = ROUTES
    grace = 5.0
    """Seconds that a server lives on after its engine: as often vLLM's looks whether that lives."""

    def __init__(self, arguments: Arguments, handler: type[BaseHTTPRequestHandler]) -> None:
        self.arguments = arguments
        self.address_family = AF_INET6 if ":" in (arguments.host or "") else AF_INET
        self._died: float | None = None
        address = (arguments.host or "", arguments.port)
        super().__init__(address, handler, bind_and_activate=False)
        try:
            self.server_bind()
        except OSError as error:
            self.server_close()
            raise StandInError(f"{type(error).__name__}: {error}") from error

    def serve(self, engine: Engine) -> None:
        """Serve until the engine dies."""
        self.engine = engine
        self.server_activate()
        self._announce()
        try:
            self.serve_forever()
        except EngineGone:
            say_goodbye()
            log.uvicorn(f"Finished server process [{os.getpid()}]")

    def _announce(self) -> None:
        host = self.arguments.host or "0.0.0.0"
        host = f"[{host}]" if ":" in host else host
        log.info("api_server.py:577", "Supported tasks: ['generate']")
        port = self.server_address[1]
        log.info("api_server.py:581", f"Starting vLLM server on http://{host}:{port}")
        log.info("launcher.py:37", "Available routes are:")
        for method, path, _ in self.routes:
            log.info("launcher.py:46", f"Route: {path}, Methods: {method}")
        log.uvicorn(f"Started server process [{os.getpid()}]")
        log.uvicorn("Waiting for application startup.")
        log.uvicorn("Application startup complete.")

    def service_actions(self) -> None:
        """Look whether the engine lives, between two requests."""
        self.mourn()
        if self._died is not None and time.monotonic() - self._died > self.grace:
            raise EngineGone

    def mourn(self) -> None:
        """Say once that the engine is dead, if it is."""
        if self._died is not None or self.engine.alive():
            return
        self._died = time.monotonic()
        log.own("the stand-in GPU no longer computes")
        words = "[shutdown] MPClient: engine core exited unexpectedly; starting cleanup"
        log.warning("core_client.py:702", words)
        words = (
            f"AsyncLLM output_handler failed.\nvllm.v1.engine.exceptions.EngineDeadError: {DEAD}"
        )
        log.error("async_llm.py:704", words)

    def card(self, name: str) -> dict[str, Any]:
        """What /v1/models says of a model; the root is what answers in truth."""
        now = int(time.time())
        permission = {
            "id": f"modelperm-{os.urandom(8).hex()}",
            "object": "model_permission",
            "created": now,
            "allow_create_engine": False,
            "allow_sampling": True,
            "allow_logprobs": True,
            "allow_search_indices": False,
            "allow_view": True,
            "allow_fine_tuning": False,
            "organization": "*",
            "group": None,
            "is_blocking": False,
        }
        return {
            "id": name,
            "object": "model",
            "created": now,
            "owned_by": "vllm",
            "root": MODEL,
            "parent": None,
            "max_model_len": self.engine.context,
            "permission": [permission],
        }


def say_goodbye() -> None:
    """The last lines of a server that ends in order."""
    log.uvicorn("Shutting down")
    log.uvicorn("Waiting for application shutdown.")
    log.uvicorn("Application shutdown complete.")
