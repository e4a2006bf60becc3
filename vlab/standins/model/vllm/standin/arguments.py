"""vLLM's command line: the flags that have an effect here, and those that are only known.

A flag that vLLM does not know ends the program with status 2, as argparse does for vLLM itself.
Source of the names: ``vllm serve --help`` of the 0.7 series; not every one is here, so a flag may
be refused that vLLM would take, never the other way about.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass

CONTEXT = 2048
"""Tokens of context where ``--max-model-len`` is not given; SmolLM2 itself was trained for 8192."""

SWITCHES = (
    "trust-remote-code enforce-eager enable-prefix-caching disable-log-requests disable-log-stats "
    "disable-custom-all-reduce enable-chunked-prefill disable-frontend-multiprocessing "
    "enable-auto-tool-choice allow-credentials return-tokens-as-token-ids skip-tokenizer-init "
    "disable-sliding-window enable-lora enable-reasoning disable-fastapi-docs"
)
VALUES = (
    "tokenizer revision code-revision tokenizer-revision tokenizer-mode download-dir load-format "
    "dtype kv-cache-dtype quantization pipeline-parallel-size tensor-parallel-size block-size seed "
    "swap-space cpu-offload-gb max-num-batched-tokens max-num-seqs max-logprobs device "
    "distributed-executor-backend chat-template response-role uvicorn-log-level root-path "
    "generation-config override-generation-config limit-mm-per-prompt tool-call-parser "
    "reasoning-parser max-seq-len-to-capture rope-scaling rope-theta task guided-decoding-backend "
    "max-parallel-loading-workers num-scheduler-steps"
)


@dataclass(frozen=True)
class Arguments:
    """The command line, read. ``ignored`` are the flags given that have no effect."""

    model: str
    served_names: tuple[str, ...]
    host: str
    port: int
    context: int
    api_key: str | None
    ignored: tuple[str, ...]


def parse(argv: Sequence[str] | None = None) -> Arguments:
    """Read the command line (default: the process's own), or exit with status 2."""
    words = [_dashes(word) for word in (sys.argv[1:] if argv is None else argv)]
    found = _parser().parse_args(words)
    given = {word.partition("=")[0] for word in words if word.startswith("--")}
    return Arguments(
        model=found.model,
        served_names=tuple(found.served_model_name or [found.model]),
        host=found.host,
        port=found.port,
        context=found.max_model_len,
        api_key=found.api_key,
        ignored=tuple(sorted(given & set(_without_effect()))),
    )


def _without_effect() -> list[str]:
    names = (*SWITCHES.split(), *VALUES.split(), "gpu-memory-utilization")
    return [f"--{name}" for name in names]


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
    parser.add_argument("--model", default="facebook/opt-125m")
    parser.add_argument("--served-model-name", nargs="+")
    parser.add_argument("--host", default="0.0.0.0")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--max-model-len", type=_context, default=CONTEXT)
    parser.add_argument("--api-key")
    parser.add_argument("--gpu-memory-utilization", type=_fraction, default=0.9)
    for name in SWITCHES.split():
        parser.add_argument(f"--{name}", action="store_true")
    for name in VALUES.split():
        parser.add_argument(f"--{name}")
    return parser


def _fraction(text: str) -> float:
    value = float(text)
    if not 0 < value <= 1:
        raise argparse.ArgumentTypeError(f"must be above 0 and at most 1, not {text}")
    return value


def _context(text: str) -> int:
    value = int(text)
    if not 256 <= value <= 8192:
        raise argparse.ArgumentTypeError(f"the stand-in's model takes 256 to 8192, not {text}")
    return value
