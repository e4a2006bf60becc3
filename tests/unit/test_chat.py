"""What is asked of the model server, what is read from its answer, and its log while it starts."""

import contextlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest

from fixtures.model import chat, replies
from fixtures.model.serverlog import ServerLog
from fixtures.profile import ModelConfig
from harness.errors import LabError
from harness.host.host import Host
from harness.record.trace import Trace
from tests.unit.patience import PATIENCE

WANTED: dict[str, Any] = {"name": "m", "command": ("serve",), "question": "？"}
BODY: dict[str, Any] = {
    "model": "m",
    "choices": [{"message": {"role": "assistant", "content": "答"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 4, "completion_tokens": 2, "total_tokens": 6},
}


def test_an_empty_system_prompt_is_not_sent() -> None:
    roles = [m["role"] for m in chat.messages(ModelConfig(**WANTED))]
    assert roles == ["system", "user"]
    assert [m["role"] for m in chat.messages(ModelConfig(**WANTED, system_prompt=""))] == ["user"]


def test_a_request_can_be_made_wrong_on_purpose() -> None:
    body = chat.request(ModelConfig(**WANTED), messages=[])
    assert (body["model"], body["messages"], body["temperature"]) == ("m", [], 0)


def test_an_answer_is_read() -> None:
    answer = chat.read("why?", json.dumps(BODY), 4.0)
    assert (answer.text, answer.finish_reason, answer.total_tokens) == ("答", "stop", 6)
    assert answer.tokens_per_second == 0.5


@pytest.mark.parametrize("lost", ["model", "choices", "usage"])
def test_an_answer_that_lacks_something_is_an_error_that_shows_it(lost: str) -> None:
    body = {key: value for key, value in BODY.items() if key != lost}
    with pytest.raises(LabError, match=f"a completion, but {lost}: Field required"):
        chat.read("why?", json.dumps(body), 1.0)


@pytest.mark.parametrize(
    "changes",
    [
        {"choices": [None]},
        {"choices": [{"message": "x"}]},
        {"choices": [{"message": {"role": None, "content": "x"}, "finish_reason": "stop"}]},
        {"choices": [{"message": {"role": "x", "content": ["x"]}, "finish_reason": "stop"}]},
        {"usage": {"prompt_tokens": 1, "completion_tokens": None, "total_tokens": 1}},
        {"usage": None},
        {"model": 1},
    ],
)
def test_an_answer_in_another_form_is_told(changes: dict[str, object]) -> None:
    with pytest.raises(LabError, match="should be answered with a completion, but") as caught:
        chat.read("why?", json.dumps(BODY | changes), 1.0)
    assert caught.value.clause == "model.answer"
    assert caught.value.hint


@pytest.mark.parametrize(
    "body", ['{"error": {"message": "no luck"}}', '{"object": "error", "message": "no luck"}']
)
def test_an_error_with_a_status_of_success_is_told(body: str) -> None:
    with pytest.raises(LabError, match="the question is answered with 200: no luck"):
        chat.read("why?", body, 1.0)


THOUGHTS = [
    ({"content": None, "reasoning_content": "hm"}, "hm", ""),
    ({"content": "答", "reasoning": "hm"}, "hm", "答"),
    ({"content": "<think>hm</think>\n\n答"}, "hm", "答"),
    ({"content": "hm</think>答"}, "hm", "答"),
    ({"content": "<think>\nhm"}, "hm", ""),
    ({"content": "答", "reasoning": None}, "", "答"),
]


@pytest.mark.case(
    "vLLM",
    "all tokens went into the reasoning, and content is null",
    source="vllm #52640, #17349, xinference #3673",
)
@pytest.mark.parametrize(("said", "thought", "text"), THOUGHTS)
def test_what_a_model_thinks_aloud_is_no_answer(
    said: dict[str, object], thought: str, text: str
) -> None:
    choice = {"message": {"role": "assistant"} | said, "finish_reason": "length"}
    answer = chat.read("why?", json.dumps(BODY | {"choices": [choice]}), 1.0)
    assert (answer.reasoning, answer.text) == (thought, text)


@pytest.mark.parametrize(
    ("first", "tokens", "rate"), [(1.0, 5, 2.0), (None, 0, None), (1.0, 1, None), (3.0, 5, None)]
)
def test_tokens_per_second_are_of_those_after_the_first(
    first: float | None, tokens: int, rate: float | None
) -> None:
    assert chat.rate(tokens, first, 3.0) == rate


def chunk(**fields: object) -> bytes:
    """A piece of a streamed answer, as vLLM sends it."""
    head = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    return b"data: " + json.dumps(head | {"choices": []} | fields).encode() + b"\n\n"


def piece(reason: str | None = None, **delta: str) -> bytes:
    """A piece with something of the answer in it."""
    return chunk(choices=[{"index": 0, "delta": delta, "finish_reason": reason}])


def spoken(*delta: bytes) -> bytes:
    """A whole stream."""
    usage = {"prompt_tokens": 4, "completion_tokens": 2, "total_tokens": 6}
    return b"".join([*delta, chunk(usage=usage), b"data: [DONE]\n\n"])


ROLE, PIECES = piece(role="assistant", content=""), (piece(content="机密"), piece(content="容器"))
EVENTS = "text/event-stream"


class Speaker(BaseHTTPRequestHandler):
    """Answers as its server is told to: with a status, a type, and a body that may be cut."""

    server: "Told"

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        assert asked["stream_options"] == {"include_usage": True}
        status, kind, body, missing = self.server.answer
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body) + missing))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:
        pass


class Told(ThreadingHTTPServer):
    """A server, and what it answers: status, type, body, bytes that never come."""

    answer: tuple[int, str, bytes, int] = (200, EVENTS, b"", 0)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


@pytest.fixture
def speaker() -> Iterator[Told]:
    """A server that streams."""
    with Told(("127.0.0.1", 0), Speaker) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server
        server.shutdown()


@pytest.mark.case(
    "vLLM",
    "http_proxy in the environment of who asks",
    source="Overpass #107, unsloth #11147, homer #394",
)
def test_a_streamed_answer_is_put_together(speaker: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9/")  # nobody is there: it is not asked
    speaker.answer = (200, EVENTS, spoken(ROLE, *PIECES, piece(reason="length")), 0)
    found = chat.stream(speaker.url, ModelConfig(**WANTED), PATIENCE)
    assert (found.text, found.role, found.finish_reason) == ("机密容器", "assistant", "length")
    assert (found.pieces, found.completion_tokens) == (2, 2)
    assert found.first_token_seconds is not None
    assert found.first_token_seconds <= found.seconds


@pytest.mark.case("vLLM", "reasoning, by either name, in a stream", source="vllm #52640, #17349")
@pytest.mark.parametrize(
    "pieces",
    [
        (piece(reasoning_content="h"), piece(reasoning_content="m"), piece(content="答")),
        (piece(reasoning="hm"), piece(content="答")),
        (piece(content="<think>hm"), piece(content="</think>答")),
    ],
)
def test_what_is_thought_aloud_in_a_stream_is_no_answer(
    speaker: Told, pieces: tuple[bytes, ...]
) -> None:
    speaker.answer = (200, EVENTS, spoken(ROLE, *pieces, piece(reason="stop")), 0)
    found = chat.stream(speaker.url, ModelConfig(**WANTED), PATIENCE)
    assert (found.reasoning, found.text, found.pieces) == ("hm", "答", len(pieces))
    assert found.first_token_seconds is not None


DEAD = b'{"error": {"message": "EngineCore encountered an issue.", "code": 500}}'
BROKEN = {
    "engine died": ((500, "application/json", DEAD, 0), "with 500: EngineCore", "engine has died"),
    "a string": ((401, "application/json", b'{"error": "Unauthorized"}', 0), "401", "--api-key"),
    "a proxy": ((502, "text/html", b"<html>Bad Gateway</html>", 0), "with 502", "a proxy"),
    "error in it": ((200, EVENTS, ROLE + b"data: " + DEAD + b"\n\n", 0), "EngineCore", "died"),
    "old error in it": (
        (200, EVENTS, b'data: {"object": "error", "message": "no luck"}\n\n', 0),
        "no luck",
        "model.port",
    ),
    "cut off": ((200, EVENTS, ROLE, 100), "lost its connection after 1 chunks", "ended since"),
    "cut JSON": ((200, EVENTS, b'data: {"id": "c\n\n', 0), "no completion", "model.port"),
    "a list": ((200, EVENTS, b"data: []\n\n", 0), "no completion", "model.port"),
    "null": ((200, EVENTS, b"data: null\n\n", 0), "no completion", "model.port"),
    "no delta": (
        (200, EVENTS, chunk(choices=[{"index": 0, "delta": None}]), 0),
        "no completion",
        "model.port",
    ),
    "HTML": ((200, "text/html", b"<html>welcome</html>", 0), "not one chunk", "model.port"),
    "nothing": ((200, EVENTS, b"", 0), "not one chunk", "model.port"),
}


@pytest.mark.case(
    "vLLM",
    "an engine that dies, an error in the stream, a cut connection",
    source="vLLM 0.24.0, openai-python",
)
@pytest.mark.parametrize(("answer", "says", "hint"), BROKEN.values(), ids=BROKEN)
def test_a_stream_that_is_none_is_told(
    speaker: Told, answer: tuple[int, str, bytes, int], says: str, hint: str
) -> None:
    speaker.answer = answer
    with pytest.raises(LabError, match="the question, streamed,") as caught:
        chat.stream(speaker.url, ModelConfig(**WANTED), PATIENCE)
    assert says in caught.value.message
    assert hint in (caught.value.hint or "")
    assert caught.value.clause == "model.streaming"


def test_a_stream_of_nobody_is_told() -> None:
    with pytest.raises(LabError, match="lost its connection after 0 chunks"):
        chat.stream("http://127.0.0.1:9", ModelConfig(**WANTED), PATIENCE)


def test_a_servers_log_is_shown_line_by_line_as_it_grows(local: Host, tmp_path: Path) -> None:
    path = tmp_path / "out"
    shown: list[str] = []
    log = ServerLog(local, str(path), shown.append)
    path.write_text("模型 loading\n\nhalf a")
    log.more()
    assert shown == ["| 模型 loading"]
    with path.open("a") as file:
        file.write(" line\n")
    log.more()
    log.more()
    assert shown == ["| 模型 loading", "| half a line"]


def test_of_a_progress_bar_the_last_is_shown_without_its_colours(
    local: Host, tmp_path: Path
) -> None:
    path = tmp_path / "out"
    shown: list[str] = []
    path.write_text("\rLoading:   0% 0/2\r\x1b[32mLoading: 100%\x1b[0m 2/2\r\n" + "\r" * 3 + "\n")
    ServerLog(local, str(path), shown.append).more()
    assert shown == ["| Loading: 100% 2/2"]


class Closing(BaseHTTPRequestHandler):
    """Closes the connection after each answer, as it is asked to, and does not say so in it."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        return None


def test_each_request_has_a_connection_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9/")  # nobody is there: it is not asked
    with ThreadingHTTPServer(("127.0.0.1", 0), Closing) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        for _ in range(3):
            url = f"http://127.0.0.1:{server.server_port}/health"
            assert chat.ask("GET", url, PATIENCE).status_code == 200
        server.shutdown()


class Rude(BaseHTTPRequestHandler):
    """By its path: leads elsewhere, has no end, or takes its time."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.asked.append(self.path)
        if self.path == "/elsewhere":
            self.send_response(302)
            self.send_header("Location", "/secret")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        with contextlib.suppress(OSError):
            while self.path != "/slow":
                self.wfile.write(CHUNK * 64)
            while not self.over.wait(0.02):
                self.wfile.write(b".")

    def do_POST(self) -> None:
        self.do_GET()

    def log_message(self, format: str, *args: object) -> None:
        return None

    asked: ClassVar[list[str]] = []
    over: ClassVar[threading.Event] = threading.Event()


CHUNK = (
    b"data: "
    + json.dumps(
        {
            **{"id": "x", "object": "chat.completion.chunk", "created": 1, "model": "m"},
            "choices": [{"index": 0, "delta": {"content": "a"}, "finish_reason": None}],
        }
    ).encode()
    + b"\n\n"
)


@pytest.fixture
def rude() -> Iterator[str]:
    """The address of a server that is rude."""
    Rude.asked.clear()
    Rude.over.clear()
    with ThreadingHTTPServer(("127.0.0.1", 0), Rude) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        Rude.over.set()
        server.shutdown()


@pytest.mark.finding("F14", "a model server points requests elsewhere")
def test_the_server_does_not_say_where_else_to_ask(rude: str) -> None:
    assert chat.ask("GET", f"{rude}/elsewhere", PATIENCE).status_code == 302
    assert Rude.asked == ["/elsewhere"]


@pytest.mark.finding("F14", "an answer without an end")
def test_an_answer_without_an_end_is_given_up(rude: str) -> None:
    told = pytest.raises(LabError, match="goes on after 1048576 bytes")
    with told, replies.heard("the server", "model.ready"):
        chat.ask("GET", f"{rude}/endless", PATIENCE)


def test_an_answer_that_takes_its_time_is_given_up(rude: str) -> None:
    told = pytest.raises(LabError, match=r"no end within 0\.3 s")
    with told, replies.heard("the server", "model.ready"):
        chat.ask("GET", f"{rude}/slow", 0.3)


@pytest.mark.parametrize(
    ("path", "budget", "said"),
    [("slow", 0.3, "no whole answer after 0 s"), ("endless", PATIENCE, "goes on after 10")],
)
@pytest.mark.finding("F14", "a stream without an end")
def test_a_stream_without_an_end_is_given_up(
    rude: str, path: str, budget: float, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def posted(handler: Rude) -> None:
        handler.path = f"/{path}"
        handler.do_GET()

    monkeypatch.setattr(Rude, "do_POST", posted)
    with pytest.raises(LabError, match=said):
        chat.stream(rude, ModelConfig(**WANTED, max_tokens=4), budget)


def test_a_character_between_two_looks_is_whole(local: Host, tmp_path: Path) -> None:
    path, shown = tmp_path / "log", list[str]()
    log, said = ServerLog(local, str(path), shown.append), "模型服务\n".encode()
    for size in range(1, len(said) + 1):
        path.write_bytes(said[:size])
        log.more()
    assert shown == ["| 模型服务"]


@pytest.mark.finding("F11", "a secret in a long line of the server's log")
def test_a_long_line_of_the_log_is_masked_before_it_is_cut(local: Host, tmp_path: Path) -> None:
    path, shown = tmp_path / "log", list[str]()
    local.trace = Trace(None, ["s3cr3t-value-of-the-lab"])
    path.write_text(f"{'x' * 190} s3cr3t-value-of-the-lab and more\n")
    ServerLog(local, str(path), shown.append).more()
    assert shown == [f"| {'x' * 190} *** and m…"]
