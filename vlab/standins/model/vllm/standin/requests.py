"""What vLLM asks of a request before any engine sees it, and what the engine then gets.

Bodies of errors are as recorded of vLLM 0.24.0. In the long ones, of pydantic's validation, the
file named is this one, and of the several message types that pydantic tries in turn only the one
that the role means is told of.
"""

import json
from typing import Any, NamedTuple

from .fields import Fault, check_fields, messages_faults

CHAT = "/v1/chat/completions"
FUNCTIONS = {CHAT: "create_chat_completion", "/v1/completions": "create_completion"}
COMPLETION_TOKENS = 16
"""Of /v1/completions where a request names none. A chat goes on until the context is full."""

# What a request may ask of vLLM, and this engine does not do: better refused than passed over.
MISSING = (
    *("echo", "suffix", "use_beam_search", "prompt_logprobs", "structured_outputs"),
    *("stop_token_ids", "allowed_token_ids", "bad_words", "min_tokens", "prompt_embeds"),
)
# vLLM's name for a parameter of sampling, llama.cpp's, and vLLM's default, which is not the same.
SAMPLING: tuple[tuple[str, str, object], ...] = (
    ("temperature", "temperature", 1.0),
    ("top_p", "top_p", 1.0),
    ("top_k", "top_k", 0),
    ("min_p", "min_p", 0.0),
    ("presence_penalty", "presence_penalty", 0.0),
    ("frequency_penalty", "frequency_penalty", 0.0),
    ("repetition_penalty", "repeat_penalty", 1.0),
)
PASSED_ON = ("stop", "logit_bias", "logprobs", "top_logprobs", "response_format", "ignore_eos")


class Refused(Exception):
    """A request that vLLM answers with an error: HTTP status, vLLM's type of it, message."""

    def __init__(self, status: int, kind: str, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.kind = kind
        self.param = param

    def body(self) -> dict[str, object]:
        """The error in vLLM's shape."""
        found = {
            "message": str(self),
            "type": self.kind,
            "param": self.param,
            "code": self.status,
        }
        return {"error": found}


class Request(NamedTuple):
    """A good request: ``jobs`` are for the engine, one each answer; ``limit`` is in tokens."""

    path: str
    jobs: list[dict[str, Any]]
    limit: int | None
    stream: bool
    usage: bool


def read(body: bytes, content_type: str, path: str, function: str) -> dict[str, Any]:
    """The JSON object of a body. Raises Refused."""
    media = content_type.partition(";")[0].strip().lower()
    found: Any = None
    if body and media == "application/json":
        try:
            found = json.loads(body)
        except json.JSONDecodeError as error:
            raise invalid(path, function, [_no_json(error)]) from error
        except (ValueError, RecursionError) as error:  # not even text, or too deep
            raise Refused(400, "Bad Request", "There was an error parsing the body") from error
    if media != "application/json":
        words = "Unsupported Media Type: Only 'application/json' is allowed"
        raise Refused(400, "Bad Request", f"1 validation error:\n  {words} {[words]!r}")
    if not body:
        raise invalid(path, function, [Fault("missing", (), "Field required", None)])
    if not isinstance(found, dict):
        words = "Input should be a valid dictionary or object to extract fields from"
        raise invalid(path, function, [Fault("model_attributes_type", (), words, found)])
    return found


def _no_json(error: json.JSONDecodeError) -> Fault:
    return Fault("json_invalid", (error.pos,), "JSON decode error", {}, {"error": error.msg})


def invalid(path: str, function: str, faults: list[Fault]) -> Refused:
    """The answer to a body that is not of the form wanted."""
    told = [fault.told() for fault in faults]
    count = "1 validation error" if len(told) == 1 else f"{len(told)} validation errors"
    line = invalid.__code__.co_firstlineno
    return Refused(
        400,
        "Bad Request",
        "".join([f"{count}:\n", *(f"  {one}\n" for one in told)])
        + f'\n  File "{__file__}", line {line}, in {function}\n    POST {path} {told!r}',
        ".".join(str(part) for part in told[0]["loc"]),
    )


def bad(message: str, param: str | None = None) -> Refused:
    """The answer to a request of the right form that cannot be met."""
    return Refused(400, "BadRequestError", message, param)


def require_model(asked: object, served: tuple[str, ...]) -> None:
    """Raise Refused for a model that is not served; none named is as good as the first."""
    if asked and asked not in served:
        raise Refused(404, "NotFoundError", f"The model `{asked}` does not exist.", "model")


def check(
    body: bytes, content_type: str, path: str, served: tuple[str, ...], context: int
) -> Request:
    """A request for a completion, whose model takes ``context`` tokens. Raises Refused."""
    function = FUNCTIONS[path]
    asked = read(body, content_type, path, function)
    faults = check_fields(asked)
    if path == CHAT:
        faults += messages_faults(asked)
    if faults:
        raise invalid(path, function, faults)
    require_model(asked.get("model"), served)
    prompts = _prompts(asked, path)
    limit = _limit(asked, path, context)
    _require_ranges(asked, limit)
    _require_known(asked)
    count = asked.get("n") or 1
    stream = bool(asked.get("stream"))
    if stream and count * len(prompts) > 1:
        raise _missing("more than one answer at a time in a stream")
    shared = _for_engine(asked, limit)
    jobs = [prompt | shared | _seed(asked, i) for prompt in prompts for i in range(count)]
    usage = bool((asked.get("stream_options") or {}).get("include_usage"))
    return Request(path, jobs, limit, stream, usage)


def _prompts(asked: dict[str, Any], path: str) -> list[dict[str, Any]]:
    if path == CHAT:
        _require_no_tools(asked)
        if not asked["messages"]:
            raise bad(
                "Cannot apply chat template to an empty conversation. Provide at least one message."
            )
        return [{"messages": asked["messages"]}]
    prompt = asked.get("prompt")
    if prompt is None or prompt == []:  # not recorded
        raise bad("Either prompt or prompt_embeds must be provided and non-empty.", "prompt")
    several = isinstance(prompt, list) and not isinstance(prompt[0], int)
    return [{"prompt": one} for one in (prompt if several else [prompt])]


def _require_no_tools(asked: dict[str, Any]) -> None:
    choice = asked.get("tool_choice") or "auto"
    if not asked.get("tools") or choice == "none":
        return
    if choice == "auto":
        raise bad(
            '"auto" tool choice requires --enable-auto-tool-choice and --tool-call-parser to be set'
        )
    raise _missing("tools")


def _limit(asked: dict[str, Any], path: str, context: int) -> int | None:
    name = "max_completion_tokens" if asked.get("max_completion_tokens") else "max_tokens"
    limit: int | None = asked.get(name)
    if limit is None:
        return None if path == CHAT else COMPLETION_TOKENS
    if limit > context:
        raise _value(
            f"{name}={limit} cannot be greater than max_model_len=max_total_tokens={context}. "
            "Please request fewer output tokens.",
            name,
            limit,
        )
    return limit


def _require_ranges(asked: dict[str, Any], limit: int | None) -> None:
    given = {name: asked[name] for name, _, _ in SAMPLING if asked.get(name) is not None}
    warmth, top_p, top_k = (given.get(name, 1) for name in ("temperature", "top_p", "top_k"))
    count = asked.get("n")
    if count is not None and count < 1:
        raise bad(f"n must be at least 1, got {count}.")
    for name in ("presence_penalty", "frequency_penalty"):
        if not -2 <= given.get(name, 0) <= 2:
            raise bad(f"{name} must be in [-2, 2], got {given[name]}.")
    if warmth < 0:
        raise _value(f"temperature must be non-negative, got {warmth}.", "temperature", warmth)
    if warmth > 2:
        raise _value(f"temperature must be in [0, 2], got {warmth}.", "temperature", warmth)
    if not 0 < top_p <= 1:
        raise _value(f"top_p must be in (0, 1], got {top_p}.", "top_p", top_p)
    if top_k < -1:
        raise bad(f"top_k must be 0 (disable), or at least 1, got {top_k}.")
    if limit is not None and limit < 1:
        raise _value(f"max_tokens must be at least 1, got {limit}.", "max_tokens", limit)


def _value(words: str, name: str, value: object) -> Refused:
    return bad(f"{words} (parameter={name}, value={value})", name)


def _require_known(asked: dict[str, Any]) -> None:
    for name in MISSING:
        if asked.get(name):
            raise _missing(f"'{name}'")
    if "prompt" in asked and asked.get("logprobs"):
        raise _missing("logprobs of a text completion")


def _missing(what: str) -> Refused:
    return Refused(501, "NotImplementedError", f"The stand-in for vLLM has not got {what}.")


def _for_engine(asked: dict[str, Any], limit: int | None) -> dict[str, Any]:
    # Nothing else is passed on: a field that vLLM does not know may mean something to llama.cpp.
    given = {name: asked[name] for name in PASSED_ON if asked.get(name) is not None}
    for name, engines, default in SAMPLING:
        value = asked.get(name)
        given[engines] = default if value is None else value
    if limit is not None:
        given["max_tokens"] = limit
    if asked.get("stream"):
        given |= {"stream": True, "stream_options": {"include_usage": True}}
    return given


def _seed(asked: dict[str, Any], answer: int) -> dict[str, int]:
    seed = asked.get("seed")
    return {} if seed is None else {"seed": (seed + answer) & 0xFFFFFFFF}


def too_long(context: int, limit: int | None) -> Refused:
    """The answer to a prompt that leaves no room for the tokens asked for."""
    asked = limit or 0
    least = context - asked + 1  # vLLM stops counting there
    return _value(
        f"This model's maximum context length is {context} tokens. However, you requested {asked} "
        f"output tokens and your prompt contains at least {least} input tokens, for a total of at "
        f"least {context + 1} tokens. Please reduce the length of the input prompt or the number "
        "of requested output tokens.",
        "input_tokens",
        least,
    )
