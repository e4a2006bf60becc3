"""vLLM's names for llama.cpp's figures, where the same is counted; llama.cpp's own stay."""

LLAMA = "llamacpp:"
# vLLM's name and words, its kind, and the engine's figures whose sum it is.
FIGURES = (
    (
        *("vllm:num_requests_running", "Number of requests in model execution batches."),
        *("gauge", ("requests_processing",)),
    ),
    (
        *("vllm:num_requests_waiting", "Number of requests waiting to be processed."),
        *("gauge", ("requests_deferred",)),
    ),
    (
        *("vllm:prompt_tokens_total", "Number of prefill tokens processed."),
        *("counter", ("prompt_tokens_total", "prompt_tokens_cached_total")),
    ),
    (
        *("vllm:prompt_tokens_cached_total", "Number of cached prompt tokens (local + external)."),
        *("counter", ("prompt_tokens_cached_total",)),
    ),
    (
        *("vllm:generation_tokens_total", "Number of generation tokens processed."),
        *("counter", ("tokens_predicted_total",)),
    ),
)


def renamed(text: str, model: str) -> str:
    """The engine's page of figures, with vLLM's after them."""
    lines = (line for line in text.splitlines() if line[:1] not in ("", "#"))
    values = dict(line.split(" ", 1) for line in lines)
    label = f'{{engine="0",model_name="{model}"}}'
    found = [text.rstrip()]
    for name, words, kind, theirs in FIGURES:
        given = [float(values[LLAMA + one]) for one in theirs if LLAMA + one in values]
        if given:
            found += [f"# HELP {name} {words}", f"# TYPE {name} {kind}"]
            found.append(f"{name}{label} {sum(given)}")
    return "\n".join([*found, ""])
