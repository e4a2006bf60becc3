"""What is asked of the model server, what is read from its answer, and its log while it starts."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from fixtures.model import chat
from fixtures.model.serverlog import ServerLog
from fixtures.profile import ModelConfig
from harness.errors import LabError
from harness.host.host import Host
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
    with pytest.raises(LabError, match=f"KeyError: '{lost}'"):
        chat.read("why?", json.dumps(body), 1.0)


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


class Speaker(BaseHTTPRequestHandler):
    """Streams an answer of two pieces, and then the usage if that was asked for."""

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        said = [piece(role="assistant", content=""), piece(content="机密"), piece(content="容器")]
        said.append(piece(reason="length"))
        if asked["stream_options"]["include_usage"]:
            usage = {"prompt_tokens": 4, "completion_tokens": 2, "total_tokens": 6}
            said.append(chunk(usage=usage))
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        self.wfile.write(b"".join(said) + b"data: [DONE]\n\n")

    def log_message(self, format: str, *arguments: object) -> None:
        pass


@pytest.fixture
def speaker() -> Iterator[str]:
    """The address of a server that streams."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Speaker) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def test_a_streamed_answer_is_put_together(speaker: str) -> None:
    found = chat.stream(speaker, ModelConfig(**WANTED), 10)
    assert (found.text, found.role, found.finish_reason) == ("机密容器", "assistant", "length")
    assert (found.pieces, found.completion_tokens) == (2, 2)
    assert found.first_token_seconds is not None
    assert found.first_token_seconds <= found.seconds


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
            assert chat.http().get(url, timeout=PATIENCE).status_code == 200
        server.shutdown()
