"""The form of a request's fields, and pydantic's words where one is of another form."""

from typing import Any, NamedTuple

INTEGERS = (
    *("max_tokens", "max_completion_tokens", "n", "seed", "top_k", "top_logprobs"),
    *("min_tokens", "truncate_prompt_tokens"),
)
NUMBERS = (
    *("temperature", "top_p", "min_p", "presence_penalty", "frequency_penalty"),
    "repetition_penalty",
)
SWITCHES = ("stream", "ignore_eos", "echo", "use_beam_search")
KINDS = {
    "developer": "ChatCompletionDeveloperMessageParam",
    "system": "ChatCompletionSystemMessageParam",
    "user": "ChatCompletionUserMessageParam",
    "assistant": "ChatCompletionAssistantMessageParam",
    "tool": "ChatCompletionToolMessageParam",
    "function": "ChatCompletionFunctionMessageParam",
}
OTHER = "CustomChatCompletionMessageParam"
MAY_BE_EMPTY = ("assistant", "function")


class Fault(NamedTuple):
    """One error of validation; ``place`` is where in the body."""

    kind: str
    place: tuple[object, ...]
    words: str
    given: object
    context: dict[str, object] | None = None

    def told(self) -> dict[str, Any]:
        """As pydantic tells it."""
        told = {
            "type": self.kind,
            "loc": ("body", *self.place),
            "msg": self.words,
            "input": self.given,
        }
        return told if self.context is None else told | {"ctx": self.context}


def check_fields(asked: dict[str, Any]) -> list[Fault]:
    """What is wrong with single values; a number that came as text becomes one, as in pydantic."""
    faults = []
    if not isinstance(asked.get("model"), str | None):
        faults.append(
            Fault("string_type", ("model",), "Input should be a valid string", asked["model"])
        )
    for names, read in ((INTEGERS, _integer), (NUMBERS, _number), (SWITCHES, _switch)):
        for name in names:
            value = asked.get(name)
            if value is None:
                continue
            found = read(name, value)
            if isinstance(found, Fault):
                faults.append(found)
            else:
                asked[name] = found
    options = asked.get("stream_options")
    if not isinstance(options, dict | None):
        words = "Input should be a valid dictionary or object to extract fields from"
        faults.append(Fault("model_attributes_type", ("stream_options",), words, options))
    return faults


def _integer(name: str, value: object) -> int | Fault:
    words = "Input should be a valid integer"
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        if value.is_integer():
            return int(value)
        return Fault(
            "int_from_float", (name,), f"{words}, got a number with a fractional part", value
        )
    if isinstance(value, str):
        try:
            return int(value)
        except ValueError:
            words += ", unable to parse string as an integer"
            return Fault("int_parsing", (name,), words, value)
    return Fault("int_type", (name,), words, value)


def _number(name: str, value: object) -> float | Fault:
    words = "Input should be a valid number"
    if isinstance(value, int | float | str):
        try:
            return float(value)
        except (ValueError, OverflowError):
            words += ", unable to parse string as a number"
            return Fault("float_parsing", (name,), words, value)
    return Fault("float_type", (name,), words, value)


def _switch(name: str, value: object) -> bool | Fault:
    if value in (0, 1):
        return bool(value)
    return Fault("bool_type", (name,), "Input should be a valid boolean", value)


def messages_faults(asked: dict[str, Any]) -> list[Fault]:
    """What is wrong with the conversation; no message at all is none of these."""
    if "messages" not in asked:
        return [Fault("missing", ("messages",), "Field required", asked)]
    messages = asked["messages"]
    if not isinstance(messages, list):
        return [Fault("list_type", ("messages",), "Input should be a valid list", messages)]
    return [fault for at, one in enumerate(messages) for fault in _message(("messages", at), one)]


def _message(place: tuple[object, ...], message: object) -> list[Fault]:
    if not isinstance(message, dict):
        words = "Input should be a valid dictionary"
        return [Fault("dict_type", (*place, OTHER), words, message)]
    role = message.get("role")
    if not isinstance(role, str):
        here = (*place, OTHER, "role")
        if role is None:
            return [Fault("missing", here, "Field required", message)]
        return [Fault("string_type", here, "Input should be a valid string", role)]
    content = message.get("content")
    if isinstance(content, str | list) or (content is None and role in MAY_BE_EMPTY):
        return []
    here = (*place, KINDS.get(role, OTHER), "content")
    parts = "generator[union[...,...,...,...]]" if role == "user" else "generator[...]"
    return [
        Fault("string_type", (*here, "str"), "Input should be a valid string", content),
        Fault("iterable_type", (*here, parts), "Input should be iterable", content),
    ]
