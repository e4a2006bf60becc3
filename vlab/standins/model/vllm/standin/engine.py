"""The engine: where the model computes, and how to reach llama.cpp's HTTP interface there."""

import http.client
import os
from importlib import import_module
from urllib.parse import urlsplit

from . import StandInError

MODEL = "SmolLM2-135M-Instruct-Q4_1"


class Connection(http.client.HTTPConnection):
    """A connection to the engine that a ``with`` closes."""

    def __enter__(self) -> "Connection":
        return self

    def __exit__(self, *failure: object) -> None:
        self.close()


class Engine:
    """A loaded model, behind llama.cpp's HTTP interface. ``server`` keeps it alive."""

    def __init__(self, host: str, port: int, context: int, server: object) -> None:
        self.host = host
        self.port = port
        self.context = context
        self.server = server

    def connect(self, patience: float) -> Connection:
        """A fresh, open connection; ``patience``: seconds without a byte. Raises OSError."""
        connection = Connection(self.host, self.port, timeout=patience)
        connection.connect()
        return connection

    def alive(self) -> bool:
        """False once the engine is gone for good."""
        return True


def start(alias: str, context: int, utilization: float) -> Engine:
    """Load the model; it answers under the name ``alias``. Returns when it can be asked.

    Raises StandInError, with vLLM's words, if it cannot be loaded.
    """
    try:
        llama = import_module("xllamacpp")
    except ImportError as error:
        raise StandInError("RuntimeError: no engine", str(error), in_engine=True) from error
    params = llama.CommonParams()
    params.model.path = os.environ["VLLM_STANDIN_WEIGHTS"]
    params.model_alias = {alias}
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
    params.n_ctx = context
    params.n_parallel = 1
    params.n_batch = params.n_ubatch = 256
    params.warmup = params.fit_params = params.ui = params.endpoint_slots = False
    params.cache_ram_mib = params.n_ctx_checkpoints = 0
    params.endpoint_metrics = True
    params.verbosity = 0
    server = llama.Server(params)
    address = urlsplit(server.listening_address)
    return Engine(address.hostname or "127.0.0.1", address.port or 0, context, server)
