"""The stand-in GPU's process, asked as its driver asks it; in the engine's place a stub."""

import os
import select
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.patience import PATIENCE
from vlab.errors import VlabError
from vlab.standins import gpu
from vlab.standins.gpu.frames import PAYLOAD, Kind, Parts, frame

# Stands for the wheel xllamacpp: a server on the unix socket that it is told, which says who it is.
STUB = """
import os, socket, threading
from types import SimpleNamespace
class CommonParams(SimpleNamespace):
    def __init__(self):
        super().__init__(model=SimpleNamespace(), cpuparams=SimpleNamespace(),
                         cpuparams_batch=SimpleNamespace(), sampling=SimpleNamespace())
llama_load_mode = SimpleNamespace(LLAMA_LOAD_MODE_NONE=0)
class Server:
    def __init__(self, params):
        if "broken" in params.model_alias:
            raise SystemExit(3)
        (path,) = params.hostnames
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(path)
        listener.listen()
        threading.Thread(target=self.serve, args=(listener,), daemon=True).start()
    def serve(self, listener):
        while True:
            connection, _ = listener.accept()
            asked = connection.recv(100)
            if asked == b"die":
                os._exit(1)
            connection.sendall(b"%d heard " % os.getpid() + asked)
            connection.close()
"""


class Driver:
    """What the kernel module is to the device: channels over one stream of frames."""

    def __init__(self, end: socket.socket) -> None:
        self.end = end
        self.parts = Parts()
        self.heard: dict[int, bytes] = {}
        self.ended: set[int] = set()
        self.answers: list[bytes] = []
        end.settimeout(PATIENCE)

    def open(self, channel: int, text: bytes) -> None:
        """Begin a conversation with this text, in frames as long as they may be."""
        self.end.sendall(frame(Kind.OPEN, channel))
        for at in range(0, len(text), PAYLOAD):
            self.end.sendall(frame(Kind.DATA, channel, text[at : at + PAYLOAD]))

    def close(self, channel: int) -> None:
        self.end.sendall(frame(Kind.CLOSE, channel))

    def until(self, channel: int, length: int) -> bytes:
        """So many bytes of an answer, or all of one that ends before."""
        while len(self.heard.get(channel, b"")) < length and channel not in self.ended:
            self.hear()
        found = self.heard.get(channel, b"")
        self.heard[channel] = found[length:]
        return found[:length]

    def line(self, channel: int) -> str:
        """The next line of an answer."""
        line = b""
        while not line.endswith(b"\n") and (byte := self.until(channel, 1)):
            line += byte
        return line.decode().strip()

    def hear(self) -> None:
        """Take what the device says next."""
        data = self.end.recv(65536)
        assert data, "the device has gone"
        for kind, channel, payload in self.parts.feed(data):
            if kind is Kind.DATA:
                self.heard[channel] = self.heard.get(channel, b"") + payload
            elif kind is Kind.CLOSE:
                self.ended.add(channel)
            else:
                self.answers.append(payload)
                self.heard.clear()  # what came before is somebody else's
                self.ended.clear()

    def ask(self, text: str, channel: int) -> str:
        """A conversation of one line."""
        self.open(channel, text.encode() + b"\n")
        return self.line(channel)


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """An image's folder with a GPU's: weights of a mebibyte, and the stub."""
    folder = tmp_path / "image" / gpu.FOLDER
    (folder / "site/xllamacpp").mkdir(parents=True)
    (folder / "site/xllamacpp/__init__.py").write_text(STUB)
    (folder / gpu.WEIGHTS).write_bytes(bytes(1 << 20))
    return folder.parent


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """A machine's folder."""
    folder = tmp_path / "machine"
    folder.mkdir()
    return folder


@pytest.fixture
def device(image: Path, machine: Path) -> Iterator[Driver]:
    """A GPU that is plugged in; QEMU's end of its socket is the test's."""
    with gpu.plugged(image, machine, 1) as (descriptor,):
        end = socket.socket(fileno=os.dup(descriptor))
    with end:
        yield Driver(end)


LOAD = 'load {"alias": "m", "context": 256, "most": 900000000}'


def test_it_computes_and_gives_back_what_it_was_sent(device: Driver) -> None:
    sent = os.urandom(10_000)
    device.open(1, b"identify\ninvert 5\nfactorial 10\nmemory\necho 10000\n" + sent)
    assert device.line(1) == f"identify {0x4E560001}"
    assert device.line(1) == f"invert {0xFFFFFFFF - 5}"
    assert device.line(1) == "factorial 3628800"
    assert device.line(1) == f"memory {1 << 30} 0"
    assert device.until(1, 10_000) == sent


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ("dance", "does not know 'dance '"),
        ("factorial 21", "does not know 'factorial 21'"),
        ("factorial x", "'factorial' wants a number, not 'x'"),
        ("echo 100000000", "does not know 'echo 100000000'"),
        ("http 9", "no model 9 is loaded"),
        ("load", "'load' wants alias, context and most"),
        ('load {"alias": "m", "context": 256, "most": 1000}', "out of memory: "),
        (LOAD.replace('"m"', '"broken"'), "the engine ended with status 3 while it loaded"),
    ],
)
def test_what_cannot_be_done_is_refused_and_said(device: Driver, asked: str, words: str) -> None:
    answer = device.ask(asked, 1)
    assert answer.startswith("error ")
    assert words in answer
    assert device.ask("invert 0", 2) == f"invert {0xFFFFFFFF}", "it is well all the same"


def test_a_model_is_in_memory_as_long_as_somebody_holds_it(device: Driver) -> None:
    assert device.ask(LOAD, 1) == "loaded 1"
    assert int(device.ask("memory", 2).split()[2]) > 0
    device.open(3, b"http 1\nquestion")
    answer = device.until(3, 1000)
    assert answer.endswith(b" heard question")
    device.close(1)
    assert device.ask("memory", 4) == f"memory {1 << 30} 0"
    assert "no model 1 is loaded" in device.ask("http 1", 5)


def test_who_holds_a_model_hears_of_its_engines_end(device: Driver) -> None:
    assert device.ask(LOAD, 1) == "loaded 1"
    device.open(2, b"http 1\ndie")
    assert device.until(2, 1) == b"", "the connection breaks"
    assert device.line(1) == "", "and the conversation that holds the model is ended"


def test_a_machine_that_was_killed_in_mid_frame_leaves_nothing_to_the_next(
    device: Driver,
) -> None:
    assert device.ask(LOAD, 1) == "loaded 1"
    device.end.sendall(frame(Kind.DATA, 1, b"x" * PAYLOAD)[:99])  # and no more: it is dead
    device.end.sendall(bytes(4096) + frame(Kind.RESET, 0, b"12345678"))
    while not device.answers:
        device.hear()
    assert device.answers == [b"12345678"]
    assert device.ask("memory", 1) == f"memory {1 << 30} 0", "a model is not left loaded"


def test_it_ends_with_its_machine_and_so_does_its_engine(device: Driver) -> None:
    assert device.ask(LOAD, 1) == "loaded 1"
    device.open(2, b"http 1\nhello")
    engine = os.pidfd_open(int(device.until(2, 1000).split()[0]))
    device.end.close()
    poll = select.poll()
    poll.register(engine, select.POLLIN)
    assert poll.poll(PATIENCE * 1000), "the engine still runs"
    os.close(engine)


def test_a_gpu_without_weights_does_not_start(image: Path, machine: Path) -> None:
    (image / gpu.FOLDER / gpu.WEIGHTS).unlink()
    with (
        pytest.raises(VlabError, match="the process of GPU 0 did not start: there are no weights"),
        gpu.plugged(image, machine, 1),
    ):
        pass


def test_frames_come_out_as_they_went_in_however_they_are_cut() -> None:
    sent = frame(Kind.OPEN, 1) + frame(Kind.DATA, 258, b"N" * 300) + frame(Kind.CLOSE, 1)
    parts, found = Parts(), []
    for byte in sent:
        found += parts.feed(bytes([byte]))
    assert found == [(Kind.OPEN, 1, b""), (Kind.DATA, 258, b"N" * 300), (Kind.CLOSE, 1, b"")]


def test_zeros_and_noise_between_frames_are_nothing() -> None:
    parts = Parts()
    noise = bytes(9) + b"N\xff\xff\xff" + bytes(4)
    assert parts.feed(noise + frame(Kind.RESET, 0, b"12345678")) == [(Kind.RESET, 0, b"12345678")]


def test_a_processor_without_the_engines_instructions_is_told() -> None:
    missing = gpu.missing_features()
    assert set(missing) <= gpu.NEEDED
    flags = next(
        (line for line in Path("/proc/cpuinfo").read_text().splitlines() if "flags" in line), ""
    )
    assert ("avx2" in flags.split()) == ("avx2" not in missing)
