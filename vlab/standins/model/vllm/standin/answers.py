"""llama.cpp's answers in the form of vLLM's: the same text and counts, vLLM's fields in its order.

Source: answers of vLLM 0.24.0; the pieces of a streamed /v1/completions alone are not recorded, and
are put together from its other answers.
"""

import json
import os
import time
from collections.abc import Iterable, Iterator
from typing import Any

from .engine import MODEL
from .requests import CHAT, Request

FINGERPRINT = f"stand-in:{MODEL}"
MESSAGE = ("refusal", "annotations", "audio", "function_call", "reasoning")


class EngineFailed(Exception):
    """What the engine says in the middle of a stream, in place of a piece."""


def _head(path: str, model: str, piece: str = "") -> dict[str, Any]:
    chat = path == CHAT
    return {
        "id": f"{'chatcmpl' if chat else 'cmpl'}-{os.urandom(8).hex()}",
        "object": f"chat.completion{piece}" if chat else "text_completion",
        "created": int(time.time()),
        "model": model,
    }


def whole(request: Request, answers: list[dict[str, Any]], model: str) -> dict[str, Any]:
    """One answer made of the engine's, of which there are several where several were asked for."""
    choice = _message_choice if request.path == CHAT else _text_choice
    choices = [choice(index, one["choices"][0]) for index, one in enumerate(answers)]
    ends: dict[str, Any] = {"kv_transfer_params": None}
    if request.path == CHAT:
        ends = {"prompt_logprobs": None, "prompt_token_ids": None, "prompt_text": None, **ends}
    return {
        **_head(request.path, model),
        "choices": choices,
        "service_tier": None,
        "system_fingerprint": FINGERPRINT,
        "usage": {**_usage(request, answers), "prompt_tokens_details": None},
        **ends,
    }


def _usage(request: Request, answers: list[dict[str, Any]]) -> dict[str, int]:
    # Several answers to one prompt count the prompt once; those to several prompts each their own.
    prompts = {
        json.dumps(job.get("prompt")): one for job, one in zip(request.jobs, answers, strict=True)
    }
    prompt = sum(one["usage"]["prompt_tokens"] for one in prompts.values())
    completion = sum(one["usage"]["completion_tokens"] for one in answers)
    return {
        "prompt_tokens": prompt,
        "total_tokens": prompt + completion,
        "completion_tokens": completion,
    }


def _message_choice(index: int, choice: dict[str, Any]) -> dict[str, Any]:
    content = choice["message"].get("content") or ""
    return {
        "index": index,
        "message": {"role": "assistant", "content": content, **dict.fromkeys(MESSAGE)},
        "logprobs": _logprobs(choice),
        "finish_reason": choice["finish_reason"],
        "stop_reason": None,
        "token_ids": None,
        "routed_experts": None,
    }


def _text_choice(index: int, choice: dict[str, Any]) -> dict[str, Any]:
    return {
        "index": index,
        "text": choice["text"],
        "logprobs": None,
        "finish_reason": choice["finish_reason"],
        "stop_reason": None,
        "token_ids": None,
        "prompt_logprobs": None,
        "prompt_token_ids": None,
        "routed_experts": None,
    }


def _logprobs(choice: dict[str, Any]) -> dict[str, Any] | None:
    found = choice.get("logprobs")
    if not found:
        return None
    tokens = [
        {**_token(one), "top_logprobs": [_token(top) for top in one["top_logprobs"]]}
        for one in found["content"]
    ]
    return {"content": tokens}


def _token(one: dict[str, Any]) -> dict[str, Any]:
    return {name: one[name] for name in ("token", "logprob", "bytes")}


def pieces(request: Request, lines: Iterable[bytes], model: str) -> Iterator[dict[str, Any]]:
    """The pieces of a streamed answer, as llama.cpp's come. Raises EngineFailed.

    The reason for the end comes with an empty text: vLLM sends it with the last one, but to hold
    each back until the next is there would make all of them late.
    """
    head = _head(request.path, model, ".chunk")
    piece = _chat_pieces if request.path == CHAT else _text_pieces
    first, usage = True, None
    for chunk in _chunks(lines):
        usage = chunk.get("usage") or usage
        for choice in chunk["choices"]:
            for found in piece(choice, first=first):
                yield {**head, **found}
            first = False
    if request.usage and usage:
        names = ("prompt_tokens", "total_tokens", "completion_tokens")
        counts = {name: usage[name] for name in names}
        yield {**head, "choices": [], "usage": counts, "system_fingerprint": FINGERPRINT}


def _chunks(lines: Iterable[bytes]) -> Iterator[dict[str, Any]]:
    for line in lines:
        field, _, text = line.partition(b":")
        if text.strip() == b"[DONE]":
            return
        if field not in (b"data", b"error"):
            continue
        chunk = json.loads(text)
        if "choices" not in chunk:
            raise EngineFailed(text.decode(errors="replace").strip())
        yield chunk
    raise EngineFailed("it stopped in the middle")


def _chat_pieces(choice: dict[str, Any], *, first: bool) -> Iterator[dict[str, Any]]:
    if first:
        start = {"index": 0, "delta": {"role": "assistant", "content": ""}}
        start |= {"logprobs": None, "finish_reason": None}
        yield {"choices": [start], "prompt_token_ids": None, "prompt_text": None}
    text, reason = choice["delta"].get("content"), choice["finish_reason"]
    if text or reason:
        found: dict[str, Any] = {"index": 0, "delta": {"content": text or ""}}
        found |= {"logprobs": _logprobs(choice), "finish_reason": reason}
        found |= {"stop_reason": None} if reason else {}
        yield {"choices": [found | {"token_ids": None}]}


def _text_pieces(choice: dict[str, Any], *, first: bool) -> Iterator[dict[str, Any]]:
    found: dict[str, Any] = {"index": 0, "text": choice["text"], "logprobs": None}
    found |= {"finish_reason": choice["finish_reason"], "stop_reason": None, "token_ids": None}
    yield {"choices": [found]}
