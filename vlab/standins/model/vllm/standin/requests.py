"""What vLLM asks of a request, before any engine sees it."""

import json
from typing import Any

TOKENS = 64
"""Answer length where a request names none. vLLM would fill the context, which takes hours here."""


class Refused(Exception):
    """A request that vLLM answers with an error: HTTP status, vLLM's error type, message."""

    def __init__(self, status: int, kind: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.kind = kind

    def body(self) -> dict[str, object]:
        """The error in the shape of vLLM 0.7."""
        return {
            "object": "error",
            "message": str(self),
            "type": self.kind,
            "param": None,
            "code": self.status,
        }


def check(body: bytes, served: tuple[str, ...], context: int, *, chat: bool) -> dict[str, Any]:
    """The request to give to the engine, whose model takes ``context`` tokens. Raises Refused."""
    try:
        request = json.loads(body)
    except ValueError as error:
        raise _bad(f"the body is not JSON: {error}") from error
    if not isinstance(request, dict):
        raise _bad("the body is not a JSON object")
    model = request.get("model")
    if not isinstance(model, str):
        raise _bad("'model': Field required")
    if model not in served:
        raise Refused(404, "NotFoundError", f"The model `{model}` does not exist.")
    if chat:
        _check_messages(request.get("messages"))
    elif not request.get("prompt"):
        raise _bad("'prompt': Field required")
    _check_numbers(request, context)
    if "repetition_penalty" in request:  # vLLM's name; llama.cpp's is another
        request["repeat_penalty"] = request.pop("repetition_penalty")
    return request


def _check_messages(messages: object) -> None:
    if not isinstance(messages, list) or not messages:
        raise _bad("'messages': a list with at least one message is required")
    for message in messages:
        if not isinstance(message, dict) or not isinstance(message.get("role"), str):
            raise _bad("'messages': each message needs a 'role'")


def _check_numbers(request: dict[str, Any], context: int) -> None:
    tokens = request.pop("max_completion_tokens", None) or request.get("max_tokens")
    if tokens is None:
        tokens = TOKENS
    if not isinstance(tokens, int) or isinstance(tokens, bool) or tokens < 1:
        raise _bad(f"max_tokens must be at least 1, got {tokens}.")
    if tokens >= context:  # vLLM counts the prompt too; here the engine does, and it stops there
        raise _bad(
            f"This model's maximum context length is {context} tokens. However, you requested "
            f"{tokens} tokens in the completion. Please reduce the length of the messages or "
            "completion."
        )
    request["max_tokens"] = tokens
    temperature = request.get("temperature")
    if temperature is None:
        request.pop("temperature", None)
    elif not isinstance(temperature, int | float) or temperature < 0:
        raise _bad(f"temperature must be non-negative, got {temperature}.")


def _bad(message: str) -> Refused:
    return Refused(400, "BadRequestError", message)
