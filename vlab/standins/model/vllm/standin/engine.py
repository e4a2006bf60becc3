"""The engine: llama.cpp's server inside this process, on a port of the loopback interface.

Everything is set for a quick start on a slow, emulated processor: no warm-up, no measuring of what
fits, a small batch, one sequence. The wheel's library needs AVX2, FMA, F16C and BMI2 outright; it
has no run-time dispatch, so an older processor ends this process with SIGILL.
"""

import os
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from urllib.parse import urlsplit

from . import StandInError

MODEL = "SmolLM2-135M-Instruct-Q4_1"
WEIGHTS = "/opt/smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
"""Where the image's last stage puts them; the variable VLLM_STANDIN_WEIGHTS names another place."""

NEEDED = {"avx2", "fma", "f16c", "bmi2"}


@dataclass(frozen=True)
class Engine:
    """A loaded model, behind llama.cpp's HTTP interface. ``server`` keeps it alive."""

    host: str
    port: int
    context: int
    server: object


def start(alias: str, context: int) -> Engine:
    """Load the model; it answers under the name ``alias``. Returns when it can be asked.

    Raises StandInError if the image has no weights, or the processor lacks what the wheel needs.
    """
    weights = Path(os.environ.get("VLLM_STANDIN_WEIGHTS", WEIGHTS))
    if not weights.is_file():
        raise StandInError(
            f"OSError: there are no weights at {weights}: this image was built up to a stage "
            "before the last one, vllm-openai"
        )
    missing = NEEDED - _processor_flags()
    if missing:
        raise StandInError(f"RuntimeError: the processor has no {', '.join(sorted(missing))}")
    # Imported by name: no type information, and absent wherever only the other files are tested.
    llama = import_module("xllamacpp")
    params = llama.CommonParams()
    params.model.path = str(weights)
    params.model_alias = {alias}
    # One pass of large reads: a mapped file would be paged in piecemeal over the shared rootfs.
    params.load_mode = llama.llama_load_mode.LLAMA_LOAD_MODE_NONE
    # One thread: two of them, spinning for each other on cores that emulators share, were measured
    # to take eighteen times as long.
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
    params.n_ctx = context
    params.n_parallel = 1
    params.n_batch = params.n_ubatch = 256
    params.warmup = params.fit_params = params.ui = params.endpoint_slots = False
    params.cache_ram_mib = params.n_ctx_checkpoints = 0
    params.endpoint_metrics = True
    params.sampling.temp = 0.0
    params.verbosity = 0
    server = llama.Server(params)
    address = urlsplit(server.listening_address)
    return Engine(address.hostname or "127.0.0.1", address.port or 0, context, server)


def _processor_flags() -> set[str]:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("flags"):
            return set(line.partition(":")[2].split())
    return set()
