"""What a model server's errors say, in each form that they come in."""

import pytest

from fixtures.model import replies
from harness.errors import LabError
from tests.unit import vllm

HTTP = {exchange.name: exchange for exchange in vllm.exchanges()}
# The gateway's page is nginx' own; the others are in the words of FastAPI and of older vLLMs.
GATEWAY = "<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body>nginx</body></html>"
BODIES = [
    (HTTP["wrong-model"].answer, "The model `gpt-4` does not exist."),
    (HTTP["key-missing"].answer, "Unauthorized"),
    (HTTP["unknown-route"].answer, "Not Found"),
    ('{"object":"error","message":"too long","type":"BadRequestError","code":400}', "too long"),
    ('{"detail":[{"loc":["body"],"msg":"Field required"}]}', "Field required"),
    ('"a string"', "a string"),
    ("Internal Server Error", "Internal Server Error"),
    (GATEWAY, "a page of HTML, '502 Bad Gateway'"),
    ("<h1>no &amp; title</h1>", "a page of HTML, 'no & title'"),
    ("", "no word"),
    ("null", "null"),
    ("[]", "[]"),
    ('{"error": {"mess', '{"error": {"mess'),
    ("[" * 100_000, "[["),
]


@pytest.mark.case(
    "vLLM",
    "errors as objects, strings, lists, or a gateway's page",
    source="vLLM 0.24.0, older vLLMs, FastAPI, nginx",
)
@pytest.mark.parametrize(("body", "says"), BODIES, ids=range(len(BODIES)))
def test_an_error_is_read_in_any_form(body: str, says: str) -> None:
    assert says in replies.said(body)


@pytest.mark.finding("F2", "a page of the model server's that takes hours to be read")
@pytest.mark.parametrize("tag", ["<title>", "<title", "<"])
def test_a_page_without_an_end_is_read_at_its_beginning(tag: str) -> None:
    assert "a page of HTML" in replies.said(tag * 150_000)


@pytest.mark.case(
    "vLLM",
    "templates without a place for the system prompt, and other refusals",
    source="vLLM 0.24.0, vllm #39279",
)
@pytest.mark.case("vLLM", "stream_options that an old server does not know", source="ms-agent #489")
@pytest.mark.parametrize(
    ("status", "body", "hint"),
    [
        (401, HTTP["key-models"].answer, "--api-key out of model.command"),
        (404, HTTP["wrong-model"].answer, "model.name"),
        (404, HTTP["unknown-route"].answer, "another server than vLLM"),
        (400, HTTP["too-long"].answer, "model.max_tokens"),
        (400, HTTP["max-tokens-too-many"].answer, "model.max_tokens"),
        (500, HTTP["engine-killed-0"].answer, "the engine has died behind its interface"),
        (503, HTTP["engine-killed-health-0"].answer, "the engine has died, or is not ready"),
        (500, "Internal Server Error", "an error of the server's own"),
        (502, GATEWAY, "a proxy answers"),
        (400, '{"error":"Extra inputs: stream_options"}', "a vLLM before 0.5"),
        # The words of gemma's and mistral's templates, and of transformers (vllm #39279).
        (400, '{"message": "System role not supported"}', "model.system_prompt"),
        (400, '{"message": "Conversation roles must alternate user/assistant"}', "system_prompt"),
        (400, '{"message": "default chat template is no longer allowed"}', "--chat-template"),
        (400, HTTP["empty-messages"].answer, replies.OTHER),
        (404, '{"message": "The model `my-proxy` does not exist."}', "model.name"),
        (418, "teapot", replies.OTHER),
    ],
)
def test_a_refusal_says_what_to_do(status: int, body: str, hint: str) -> None:
    error = replies.refused("/x", status, body, "model.ready")
    assert error.message.startswith(f"/x is answered with {status}: ")
    assert hint in (error.hint or "")


def test_models_are_listed() -> None:
    assert replies.models(HTTP["models"].answer) == ("Qwen1.5-1.8B-Chat",)


@pytest.mark.parametrize(
    "body",
    [
        "{}",
        "[]",
        "null",
        '{"data": null}',
        '{"data": [null]}',
        '{"data": [{"id": 1}]}',
        "<html>",
        "",
        '{"data": [{"id": "Qw',
    ],
)
def test_what_is_no_list_of_models_is_told(body: str) -> None:
    with pytest.raises(LabError, match="/v1/models is no list of models: ") as caught:
        replies.models(body)
    assert (caught.value.clause, caught.value.hint) == ("model.ready", replies.OTHER)
