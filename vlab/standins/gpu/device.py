"""The stand-in GPU's process: ``device FD PLACE FOLDER``, started by ``vlab.standins.gpu``.

FD is its end of a socket whose other end is the PCI function's port in QEMU; it ends when that
does. PLACE is a path in the machine's folder, where it makes its sockets, FOLDER holds engine and
weights. Each channel (see ``frames``) is a process of the guest that
has the device open; it asks in lines, and is answered in lines:

    identify              -> identify MAGIC
    invert N              -> invert N, every bit of the 32 inverted
    factorial N           -> factorial N!
    memory                -> memory TOTAL USED, in bytes
    echo N, then N bytes  -> the N bytes
    load {"alias": A, "context": C, "most": M}
                          -> loaded ID; the model stays in memory as long as the channel is open,
                             and may take M bytes of it; the channel ends if its engine does
    http ID               -> from here on the channel is a connection to that model's HTTP server

What cannot be done is answered ``error WHY``.
"""

import asyncio
import contextlib
import json
import math
import os
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from vlab.standins.gpu import WEIGHTS
from vlab.standins.gpu.frames import PAYLOAD, Frame, Kind, Parts, frame

MAGIC = 0x4E560001
MEMORY = 1 << 30
"""Bytes of memory of the GPU."""

MOST_ECHOED = 1 << 20  # bytes
MOST_FACTORS = 20  # the result fits 64 bits
LOADING = 300.0  # seconds that an engine may take to stand; half of one is usual
KEPT_PER_TOKEN = 30 * 3 * 64 * 2 * 2
"""Bytes of key and value cache per token of context: layers, heads, width, both, two bytes each."""


class Refused(Exception):
    """What a channel asks for cannot be done; the text says why."""


class Engine:
    """A model in memory: a process with an HTTP server on a unix socket."""

    def __init__(self, number: int, process: asyncio.subprocess.Process, path: str) -> None:
        self.number = number
        self.process = process
        self.path = path

    def memory(self) -> int:
        """Bytes that it has resident; none once it has ended."""
        with contextlib.suppress(OSError):
            fields = Path(f"/proc/{self.process.pid}/statm").read_text(encoding="ascii").split()
            return int(fields[1]) * os.sysconf("SC_PAGE_SIZE")
        return 0


class Gpu:
    """The device: its channels and the models that it holds."""

    def __init__(self, name: str, folder: Path, writer: asyncio.StreamWriter) -> None:
        self.name = name
        self.folder = folder
        self.writer = writer
        self.channels: dict[int, tuple[asyncio.StreamReader, asyncio.Task[None]]] = {}
        self.engines: dict[int, Engine] = {}
        self.reserved = 0  # bytes for models that are on their way into memory
        self.count = 0

    async def take(self, found: Frame) -> None:
        """Carry out a frame of the driver's."""
        kind, number, payload = found
        if kind is Kind.RESET:
            for known in list(self.channels):
                await self._close(known)
            await self.send(Kind.RESET, 0, payload)
        elif kind is Kind.OPEN:
            await self._close(number)
            reader = asyncio.StreamReader()
            task = asyncio.create_task(self._serve(number, reader))
            self.channels[number] = (reader, task)
        elif kind is Kind.CLOSE:
            await self._close(number)
        elif number in self.channels:
            self.channels[number][0].feed_data(payload)

    async def send(self, kind: Kind, number: int, payload: bytes = b"") -> None:
        """Send to the driver, and wait while it takes nothing."""
        self.writer.write(frame(kind, number, payload))
        await self.writer.drain()

    async def say(self, number: int, data: bytes) -> None:
        """Send data of any length on a channel."""
        for at in range(0, len(data), PAYLOAD):
            await self.send(Kind.DATA, number, data[at : at + PAYLOAD])

    async def _close(self, number: int) -> None:
        _, task = self.channels.pop(number, (None, None))
        if task is not None:
            task.cancel()
            await asyncio.wait([task])

    async def _serve(self, number: int, reader: asyncio.StreamReader) -> None:
        try:
            while line := await reader.readline():
                word, _, rest = line.decode(errors="replace").strip().partition(" ")
                try:
                    if word == "load":
                        async with self._loaded(rest) as engine:
                            await self.say(number, f"loaded {engine.number}\n".encode())
                            await engine.process.wait()  # or until the channel is closed
                        return
                    if word == "http":
                        return await self._relay(number, reader, rest)
                    await self.say(number, await self._answer(word, rest, reader))
                except Refused as refused:
                    await self.say(number, f"error {refused}\n".encode())
        finally:
            # Whoever still reads gets an end, and no silence.
            with contextlib.suppress(ConnectionError):
                self.writer.write(frame(Kind.CLOSE, number))

    async def _answer(self, word: str, rest: str, reader: asyncio.StreamReader) -> bytes:
        if word == "identify":
            return f"identify {MAGIC}\n".encode()
        if word == "memory":
            return f"memory {MEMORY} {self.used()}\n".encode()
        if word == "invert":
            return f"invert {~_number(word, rest) & 0xFFFFFFFF}\n".encode()
        if word == "factorial" and (number := _number(word, rest)) <= MOST_FACTORS:
            return f"factorial {math.factorial(number)}\n".encode()
        if word == "echo" and (number := _number(word, rest)) <= MOST_ECHOED:
            return await reader.readexactly(number)
        raise Refused(f"this GPU does not know '{word} {rest}'")

    def used(self) -> int:
        """Bytes of memory in use."""
        return sum(engine.memory() for engine in self.engines.values())

    @asynccontextmanager
    async def _loaded(self, rest: str) -> AsyncIterator[Engine]:
        """A model in memory for the length of the block. Raises Refused."""
        try:
            wanted = json.loads(rest)
            alias, context, most = str(wanted["alias"]), int(wanted["context"]), int(wanted["most"])
        except (ValueError, KeyError, TypeError) as error:
            raise Refused(f"'load' wants alias, context and most: {error}") from error
        size = (self.folder / WEIGHTS).stat().st_size + context * KEPT_PER_TOKEN
        free = min(most, MEMORY) - self.used() - self.reserved
        if size > free:
            raise Refused(f"out of memory: {size} bytes are wanted, {free} of {MEMORY} are free")
        self.count += 1
        number = self.count
        self.reserved += size
        try:
            engine = await self._start(number, alias, context)
        finally:
            self.reserved -= size
        self.engines[number] = engine
        try:
            yield engine
        finally:
            del self.engines[number]
            await _end(engine)

    async def _start(self, number: int, alias: str, context: int) -> Engine:
        path = f"{self.name}-{number}.sock"
        process = await asyncio.create_subprocess_exec(
            *("setpriv", "--pdeathsig", "KILL", "--", sys.executable, "-I"),
            *(str(Path(__file__).with_name("engine.py")), path, alias, str(context)),
            *(str(self.folder / "site"), str(self.folder / WEIGHTS)),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
        )
        engine = Engine(number, process, path)
        assert process.stdout is not None
        try:
            said = await asyncio.wait_for(process.stdout.readline(), LOADING)
        except BaseException:
            await _end(engine)
            raise
        if said != b"ready\n":
            if not said:  # it is ending, and a kill just then loses its status (cpython #87744)
                await process.wait()
            await _end(engine)
            raise Refused(f"the engine ended with status {process.returncode} while it loaded")
        return engine

    async def _relay(self, number: int, reader: asyncio.StreamReader, rest: str) -> None:
        engine = self.engines.get(_number("http", rest))
        if engine is None:
            raise Refused(f"no model {rest} is loaded")
        try:
            answers, requests = await asyncio.open_unix_connection(engine.path)
        except OSError as error:
            raise Refused(f"the engine does not answer: {error}") from error
        there = asyncio.create_task(_copy(reader, requests))
        try:
            while data := await answers.read(PAYLOAD):
                await self.say(number, data)
        finally:
            there.cancel()
            requests.close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(PAYLOAD):
        writer.write(data)
        await writer.drain()


async def _end(engine: Engine) -> None:
    with contextlib.suppress(ProcessLookupError):
        engine.process.kill()
    await engine.process.wait()
    Path(engine.path).unlink(missing_ok=True)


def _number(word: str, text: str) -> int:
    if not text.isdecimal():
        raise Refused(f"'{word}' wants a number, not '{text}'")
    return int(text)


async def run(end: socket.socket, name: str, folder: Path) -> None:
    """Be the device until its machine is gone."""
    reader, writer = await asyncio.open_connection(sock=end)
    gpu, parts = Gpu(name, folder, writer), Parts()
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(1 << 16):
            for found in parts.feed(data):
                await gpu.take(found)


def main() -> None:
    """Leave the starter's session and family, and be the device."""
    end = socket.socket(fileno=int(sys.argv[1]))
    place, folder = Path(sys.argv[2]), Path(sys.argv[3])
    if not (folder / WEIGHTS).is_file():
        sys.exit(f"there are no weights in {folder}")
    if os.fork():
        os._exit(0)
    os.setsid()
    os.chdir(place.parent)  # the path of a socket has to be short
    asyncio.run(run(end, place.name, folder))


if __name__ == "__main__":
    main()
