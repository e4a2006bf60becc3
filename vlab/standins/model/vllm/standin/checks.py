"""What vLLM looks at before it starts an engine, in its order, with its words where it refuses.

Source of the words: logs of starts of vLLM 0.24.0 that failed. Where a case is not among them its
words are those of the published sources of vLLM, pydantic and huggingface_hub, and said to be so.
"""

import os
from importlib import import_module

from . import StandInError, log
from .arguments import Arguments

CONTEXT = 8192
"""Tokens that the stand-in's model was trained for: the most, and what is taken if none is said."""

# Methods that read a quantized checkpoint's own configuration, which this model has none of.
QUANTIZED = {"awq", "awq_marlin", "gptq", "gptq_marlin", "auto_round", "compressed-tensors"}


def require_modelscope() -> None:
    """Import modelscope where the environment asks for it, as vLLM does. Raises ImportError.

    vLLM takes "true" alone for it, in any case of letters. The guide sets it; an image built only
    up to the stage vllm-base lacks the package.
    """
    if os.environ.get("VLLM_USE_MODELSCOPE", "False").lower() == "true":
        try:
            import_module("modelscope")
        except ImportError as error:
            raise ImportError(
                "Please install modelscope>=1.18.1 via `pip install modelscope>=1.18.1` to use "
                "ModelScope."
            ) from error


def require_model(model: str) -> None:
    """Raise StandInError for a path that is not there; a name on a hub is never looked up here."""
    if os.path.exists(model) or not model.startswith(("/", "./", "../")):
        return
    if model.count("/") > 1:
        words = (
            f"Repo id must be in the form 'repo_name' or 'namespace/repo_name': '{model}'. Use "
            "`repo_type` argument if needed."
        )
    else:  # not recorded: huggingface_hub's source
        words = (
            "Repo id must use alphanumeric chars, '-', '_' or '.'. The name cannot start or end "
            f"with '-' or '.' and the maximum length is 96: '{model}'."
        )
    raise StandInError(f"huggingface_hub.errors.HFValidationError: {words}")


def require_configuration(arguments: Arguments, gpus: int) -> int:
    """The context to serve, in tokens. Raises StandInError where vLLM's configuration would."""
    _require_utilization(arguments.utilization)
    log.info("model.py:598", "Resolved architecture: LlamaForCausalLM")
    context = CONTEXT if arguments.context is None else arguments.context
    if context > CONTEXT and os.environ.get("VLLM_ALLOW_LONG_MAX_MODEL_LEN") != "1":
        raise _too_long(context)
    log.info("model.py:1725", f"Using max model len {context}")
    if arguments.world > gpus:
        raise _too_many(arguments.world, gpus)
    if arguments.quantization in QUANTIZED:
        raise _invalid(
            "VllmConfig",
            f"Cannot find the config file for {arguments.quantization}",
            "ArgsKwargs((), {'model_co... 'shutdown_timeout': 0})",
        )
    return context


def _require_utilization(value: float) -> None:
    if 0 < value <= 1:
        return
    kind, words = (  # not recorded: pydantic's words for such a limit
        ("greater_than", "greater than 0")
        if value <= 0
        else ("less_than_equal", "less than or equal to 1")
    )
    raise StandInError(
        "pydantic_core._pydantic_core.ValidationError: 1 validation error for CacheConfig\n"
        f"gpu_memory_utilization\n  Input should be {words} [type={kind}, input_value={value}, "
        "input_type=float]\n"
        f"    For further information visit https://errors.pydantic.dev/2.14/v/{kind}"
    )


def _too_long(context: int) -> StandInError:
    return _invalid(
        "ModelConfig",
        f"User-specified max_model_len ({context}) is greater than the derived max_model_len "
        f"(max_position_embeddings={CONTEXT}.0 or model_max_length=None in model's config.json). "
        "To allow overriding this maximum, set the env var VLLM_ALLOW_LONG_MAX_MODEL_LEN=1. "
        "VLLM_ALLOW_LONG_MAX_MODEL_LEN must be used with extreme caution. If the model uses "
        "relative position encoding (RoPE), positions exceeding derived_max_model_len lead to nan. "
        "If the model uses absolute position encoding, positions exceeding derived_max_model_len "
        "will cause a CUDA array out-of-bounds error.",
        "ArgsKwargs((), {'model': ...nderer_num_workers': 1})",
    )


def _too_many(world: int, gpus: int) -> StandInError:
    return _invalid(
        "ParallelConfig",
        f"World size ({world}) is larger than the number of available GPUs ({gpus}) in this node. "
        "If this is intentional and you are using:\n"
        "- ray, set '--distributed-executor-backend ray'.\n"
        "- multiprocessing, set '--nnodes' appropriately.",
        "ArgsKwargs((), {'pipeline...'numa_bind_cpus': None})",
    )


def _invalid(config: str, words: str, given: str) -> StandInError:
    return StandInError(
        f"pydantic_core._pydantic_core.ValidationError: 1 validation error for {config}\n"
        f"  Value error, {words} [type=value_error, input_value={given}, input_type=ArgsKwargs]\n"
        "    For further information visit https://errors.pydantic.dev/2.14/v/value_error"
    )


def no_cache_memory(why: str = "") -> StandInError:
    """For an engine whose share of the GPU's memory holds the model and no context."""
    return StandInError(
        "ValueError: No available memory for the cache blocks. Try increasing "
        "`gpu_memory_utilization` when initializing the engine (this flag also controls CPU memory "
        "reservation on the CPU backend, despite its name). See "
        "https://docs.vllm.ai/en/latest/configuration/conserving_memory/ for more details.",
        why,
        in_engine=True,
    )


def not_enough_free(free: float, total: float, utilization: float, why: str = "") -> StandInError:
    """For a GPU (GiB free, GiB in all) of which others hold too much; not recorded: vLLM's source.

    vLLM says so before it loads anything.
    """
    return StandInError(
        f"ValueError: Free memory on device cuda:0 ({free:.2f}/{total:.2f} GiB) on startup is less "
        f"than desired GPU memory utilization ({utilization}, {total * utilization:.2f} GiB). "
        "Decrease GPU memory utilization or reduce GPU memory used by other processes.",
        why,
        in_engine=True,
    )


def out_of_memory(asked: float, total: float, free: float, why: str = "") -> StandInError:
    """For a model that does not fit (MiB asked for; GiB); not recorded: PyTorch's source."""
    return StandInError(
        f"torch.OutOfMemoryError: CUDA out of memory. Tried to allocate {asked:.2f} MiB. GPU 0 has "
        f"a total capacity of {total:.2f} GiB of which {free:.2f} GiB is free.",
        why,
        in_engine=True,
    )
