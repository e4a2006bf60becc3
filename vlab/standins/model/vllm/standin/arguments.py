"""vLLM's command line: every flag is known, few have an effect here.

A flag that vLLM does not know ends the program with its usage and status 2, as argparse does for
vLLM itself. A value out of its range is no matter of the command line there: see ``checks``.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from typing import Any, NamedTuple

from .flags import DEFAULTS, FLAGS, SHORT

EFFECTIVE = {
    *("model", "served_model_name", "host", "port", "max_model_len", "api_key", "quantization"),
    *("gpu_memory_utilization", "tensor_parallel_size", "pipeline_parallel_size"),
    "disable_uvicorn_access_log",
}
UNITS = {"k": 1000, "m": 1000**2, "g": 1000**3, "K": 1024, "M": 1024**2, "G": 1024**3}


class Arguments(NamedTuple):
    """The command line, read. ``given`` are the flags that are not at their default, in order."""

    model: str
    served_names: tuple[str, ...]
    host: str | None
    port: int
    context: int | None
    api_keys: tuple[str, ...]
    utilization: float
    world: int
    quantization: str | None
    access_log: bool
    given: dict[str, Any]

    @property
    def ignored(self) -> list[str]:
        """Flags that were given, and have no effect here."""
        return ["--" + name.replace("_", "-") for name in self.given if name not in EFFECTIVE]


def parse(argv: Sequence[str] | None = None) -> Arguments:
    """Read the command line (default: the process's own), or exit with status 2."""
    parser = _parser()
    words = [_dashes(word) for word in (sys.argv[1:] if argv is None else argv)]
    found = vars(parser.parse_args(words))
    at_rest = vars(parser.parse_args([]))
    return Arguments(
        model=found["model"],
        served_names=tuple(found["served_model_name"] or [found["model"]]),
        host=found["host"],
        port=found["port"],
        context=found["max_model_len"],
        api_keys=tuple(found["api_key"] or filter(None, [os.environ.get("VLLM_API_KEY")])),
        utilization=found["gpu_memory_utilization"],
        world=found["tensor_parallel_size"] * found["pipeline_parallel_size"],
        quantization=found["quantization"],
        access_log=not found["disable_uvicorn_access_log"],
        given={name: found[name] for name in at_rest if found[name] != at_rest[name]},
    )


def _dashes(word: str) -> str:
    # vLLM's parser takes --served_model_name for --served-model-name.
    if not word.startswith("--"):
        return word
    flag, equals, value = word.partition("=")
    return flag.replace("_", "-") + equals + value


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="api_server.py", description="vLLM stand-in: OpenAI-compatible server."
    )
    # Taken and not heeded, as by this module of vLLM; `vllm serve` is what has its model there.
    parser.add_argument("model_tag", nargs="?")
    for marked in FLAGS.split():
        name = marked.rstrip("?!+#%")
        names = [f"--{name}", *filter(None, [SHORT.get(name)])]
        parser.add_argument(*names, default=DEFAULTS.get(name), **_kind(name, marked[len(name) :]))
    return parser


def _kind(name: str, mark: str) -> dict[str, Any]:
    if name == "max-model-len":
        return {"type": _tokens}
    kinds: dict[str, dict[str, Any]] = {
        "?": {"action": argparse.BooleanOptionalAction},
        "!": {"action": "store_true"},
        "+": {"nargs": "+"},
        "#": {"type": int},
        "%": {"type": float},
    }
    return kinds.get(mark, {})


def _tokens(text: str) -> int | None:
    """Tokens as vLLM reads them: 8192, 8k (8000), 8K (8192); auto and -1 leave it to the model."""
    if text in ("auto", "-1"):
        return None
    number, unit = (text[:-1], UNITS[text[-1]]) if text[-1:] in UNITS else (text, 1)
    return int(float(number) * unit) if unit > 1 else int(number)
