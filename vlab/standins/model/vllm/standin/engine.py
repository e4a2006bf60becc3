"""The engine: a model in the GPU's memory, asked through the device node that the hook brought.

Nothing is computed in the container, nor in its machine: each connection to the engine is a
conversation with the device (``vlab/standins/gpu``), behind which llama.cpp's server answers. The
device holds the model as long as this process has it open.
"""

import http.client
import io
import json
import os
import select
from pathlib import Path

from . import StandInError, checks

MODEL = "SmolLM2-135M-Instruct-Q4_1"
NODES = "/dev/nvidia[0-9]*"
GIB = 1 << 30
LOADING = 600.0
"""Seconds that loading may take; the device needs half a second for it."""


class Conversation(io.RawIOBase):
    """One conversation with the device, as a file that gives up after some seconds of silence."""

    def __init__(self, descriptor: int, patience: float) -> None:
        self.descriptor = descriptor
        self.patience = patience

    @classmethod
    def begin(cls, path: str, patience: float) -> "Conversation":
        """Open the device node ``path``; OSError where that cannot be."""
        return cls(os.open(path, os.O_RDWR | os.O_CLOEXEC), patience)

    def readable(self) -> bool:
        return True

    def writable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        """Take what has come. Raises TimeoutError when nothing does, OSError if the GPU is gone."""
        poll = select.poll()
        poll.register(self.descriptor, select.POLLIN)
        if not poll.poll(self.patience * 1000):
            raise TimeoutError(f"the GPU said nothing for {self.patience:g} s")
        data = os.read(self.descriptor, len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def write(self, data: bytes) -> int:  # type: ignore[override]
        """Send some of it."""
        return os.write(self.descriptor, data)

    def sendall(self, data: bytes) -> None:
        """Send all of it: a socket's method, for http.client."""
        rest = memoryview(data)
        while rest:
            rest = rest[self.write(bytes(rest)) :]

    def makefile(self, mode: str) -> io.BufferedReader:
        """What is heard, buffered: a socket's method, for http.client, which closes each alone."""
        return io.BufferedReader(Conversation(os.dup(self.descriptor), self.patience))

    def line(self) -> str:
        """The next line, without its end; empty where there is no more."""
        heard = bytearray()
        while not heard.endswith(b"\n") and (byte := self.read(1)):
            heard += byte
        return heard.decode(errors="replace").rstrip("\n")

    def ended(self) -> bool:
        """Whether the other side has ended it, as far as can be known without waiting."""
        poll = select.poll()
        poll.register(self.descriptor, select.POLLIN)
        return bool(poll.poll(0))

    def close(self) -> None:
        """Close it, once."""
        if not self.closed:
            os.close(self.descriptor)
        super().close()


class Connection(http.client.HTTPConnection):
    """A connection to the engine's HTTP server, through the device; a ``with`` closes it."""

    def __init__(self, path: str, model: int, patience: float) -> None:
        super().__init__("localhost")
        conversation = Conversation.begin(path, patience)
        conversation.sendall(f"http {model}\n".encode())
        self.sock = conversation

    def __enter__(self) -> "Connection":
        return self

    def __exit__(self, *failure: object) -> None:
        self.close()


class Engine:
    """A model in the memory of the GPU at ``path``; it stays there as long as this object is."""

    def __init__(self, path: str, held: Conversation, model: int, context: int) -> None:
        self.path = path
        self.held = held
        self.model = model
        self.context = context

    def connect(self, patience: float) -> Connection:
        """A connection to its HTTP server. Raises OSError where the GPU is gone."""
        return Connection(self.path, self.model, patience)

    def alive(self) -> bool:
        """Whether the GPU still has the model."""
        return not self.held.ended()


def start(alias: str, context: int, utilization: float) -> Engine:
    """Have the first GPU load the model; it answers under the name ``alias``.

    ``context`` is in tokens; ``utilization`` is the part of the GPU's memory that may be used.
    Raises StandInError, in vLLM's words, where it does not come about.
    """
    nodes = sorted(str(path) for path in Path("/").glob(NODES.lstrip("/")))
    if not nodes:
        raise StandInError(
            "RuntimeError: No CUDA GPUs are available", "there is no /dev/nvidiaN", in_engine=True
        )
    path = nodes[0]
    try:
        total, used = _memory(path)
        if total - used < total * utilization:
            raise checks.not_enough_free((total - used) / GIB, total / GIB, utilization)
        wanted = json.dumps({"alias": alias, "context": context, "most": int(total * utilization)})
        held = Conversation.begin(path, LOADING)
        held.sendall(f"load {wanted}\n".encode())
        word, _, rest = held.line().partition(" ")
    except OSError as error:
        raise StandInError(
            "RuntimeError: CUDA error: unknown error", f"{path}: {error}", in_engine=True
        ) from error
    if word == "loaded":
        return Engine(path, held, int(rest), context)
    if rest.startswith("out of memory"):
        raise checks.no_cache_memory(rest)
    raise StandInError(
        "RuntimeError: CUDA error: unknown error", rest or "no answer", in_engine=True
    )


def _memory(path: str) -> tuple[int, int]:
    """Bytes of the GPU's memory, and of it in use."""
    conversation = Conversation.begin(path, LOADING)
    try:
        conversation.sendall(b"memory\n")
        answer = conversation.line().split()
    finally:
        conversation.close()
    if len(answer) != 3 or answer[0] != "memory":
        raise OSError(f"the GPU answers {' '.join(answer) or 'nothing'}")
    return int(answer[1]), int(answer[2])
